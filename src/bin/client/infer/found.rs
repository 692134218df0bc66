//! What a reply means: classes, things with their places, a picture, or tensors.

use bytes::Bytes;
use frameserve::tensor::{Data, DataType, Tensor};
use serde_json::{Map, Value, json};

use super::model::Task;
use crate::failure::Failure;
use crate::tensors::{Named, numbers, values};

/// More of an output is not printed as JSON: --raw writes all of it.
const JSON_VALUES: usize = 4096;

#[derive(Debug, Clone)]
pub enum Found {
    Classes(Vec<Class>),
    Detections(Vec<Detection>),
    Picture {
        /// Where one was asked for.
        picture: Option<Tensor>,
        findings: Option<Findings>,
    },
    Tensors(Vec<Named>),
}

/// One of the best classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    pub index: u64,
    pub label: Option<String>,
    pub score: f64,
    /// Which output it came from, where there are several.
    pub output: Option<String>,
}

/// One thing in a picture, in its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    pub label: String,
    pub class: Option<i64>,
    pub score: Option<f64>,
    /// x, y, width, height.
    pub place: [f64; 4],
    pub points: Vec<[f64; 2]>,
    /// As the server wrote it.
    pub json: Value,
}

/// What a pipeline found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    pub things: Vec<Detection>,
    /// Whatever else there is, by its name.
    pub others: Map<String, Value>,
}

impl Found {
    /// Reads the outputs as the task has them. What scores less than `threshold` is left out.
    pub fn read(task: &Task, outputs: Vec<Named>, threshold: Option<f64>) -> Result<Found, Failure> {
        let enough =
            |score: Option<f64>| threshold.is_none_or(|least| score.is_none_or(|score| score >= least));
        match task {
            Task::Tensors => Ok(Found::Tensors(outputs)),
            Task::Classification { top, .. } => {
                let several = outputs.len() > 1;
                let top = usize::try_from(*top).unwrap_or(usize::MAX);
                let classes = outputs.iter().map(|output| classes(output, top, several));
                let mut classes = classes.collect::<Result<Vec<_>, _>>()?.concat();
                classes.retain(|class| enough(Some(class.score)));
                Ok(Found::Classes(classes))
            }
            Task::Detection => {
                let text = json_of(output(&outputs, "detections")?)?;
                let mut things = things(&text).ok_or_else(|| {
                    Failure::bad_reply(format!("output 'detections' holds no list of detections: {text}"))
                })?;
                things.retain(|thing| enough(thing.score));
                Ok(Found::Detections(things))
            }
            Task::Image { output: name } => {
                let picture = Some(output(&outputs, name)?.tensor.clone());
                Ok(Found::Picture { picture, findings: None })
            }
            Task::Pipeline => {
                let by_name = |name: &str| outputs.iter().find(|output| output.name == name);
                let mut findings = by_name("findings").map(json_of).transpose()?.map(Findings::read);
                if let Some(findings) = &mut findings {
                    findings.things.retain(|thing| enough(thing.score));
                }
                Ok(Found::Picture { picture: by_name("image").map(|image| image.tensor.clone()), findings })
            }
        }
    }

    /// What --json prints of it.
    pub fn json(&self) -> Value {
        match self {
            Found::Classes(classes) => {
                json!({ "classes": classes.iter().map(Class::json).collect::<Vec<_>>() })
            }
            Found::Detections(things) => json!({ "detections": listed(things) }),
            Found::Picture { findings: Some(findings), .. } => json!({ "findings": findings.json() }),
            Found::Picture { findings: None, .. } => json!({}),
            Found::Tensors(outputs) => {
                json!({ "outputs": outputs.iter().map(tensor_json).collect::<Vec<_>>() })
            }
        }
    }
}

impl Findings {
    /// A list of things, or an object that has one as its `detections`.
    fn read(json: Value) -> Findings {
        if let Some(things) = things(&json) {
            return Findings { things, others: Map::new() };
        }
        let Value::Object(mut others) = json else {
            return Findings { things: Vec::new(), others: Map::from_iter([("found".to_string(), json)]) };
        };
        let listed = others.get("detections").and_then(things);
        if listed.is_some() {
            others.remove("detections");
        }
        Findings { things: listed.unwrap_or_default(), others }
    }

    fn json(&self) -> Value {
        let mut json = self.others.clone();
        json.insert("detections".into(), json!(listed(&self.things)));
        json.into()
    }
}

impl Class {
    fn json(&self) -> Value {
        let mut json = json!({ "index": self.index, "score": self.score });
        for (key, value) in [("label", &self.label), ("output", &self.output)] {
            if let Some(value) = value {
                json[key] = value.as_str().into();
            }
        }
        json
    }
}

fn listed(things: &[Detection]) -> Vec<&Value> {
    things.iter().map(|thing| &thing.json).collect()
}

fn tensor_json(output: &Named) -> Value {
    let Named { name, tensor } = output;
    let elements = tensor.shape().elements();
    let mut json = json!({
        "name": name,
        "datatype": tensor.datatype().name(),
        "shape": tensor.shape().dims(),
        "values": values(tensor, JSON_VALUES),
    });
    if elements.is_some_and(|elements| elements > JSON_VALUES) {
        json["values_left_out"] = elements.map(|elements| elements - JSON_VALUES).into();
    }
    json
}

fn output<'a>(outputs: &'a [Named], name: &str) -> Result<&'a Named, Failure> {
    outputs.iter().find(|output| output.name == name).ok_or_else(|| {
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        Failure::bad_reply(format!("the reply has no output '{name}'; it has {}", names.join(", ")))
    })
}

/// The byte strings of an output.
pub fn strings<'a>(name: &str, tensor: &'a Tensor) -> Result<&'a [Bytes], Failure> {
    match tensor.data() {
        Data::Elements(elements) => Ok(elements),
        Data::Raw(_) => Err(Failure::bad_reply(format!(
            "output '{name}' of the reply is {}, not {}",
            tensor.datatype(),
            DataType::Bytes
        ))),
    }
}

/// `SCORE:INDEX` or `SCORE:INDEX:LABEL`, one for each class. A server without that extension sends all scores.
fn classes(output: &Named, top: usize, several: bool) -> Result<Vec<Class>, Failure> {
    let Named { name, tensor } = output;
    let Data::Elements(elements) = tensor.data() else {
        return Ok(best(output, top, several));
    };
    let read = |element: &Bytes| {
        let text = std::str::from_utf8(element).ok()?;
        let mut parts = text.splitn(3, ':');
        let (score, index) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let label = parts.next().map(str::to_string);
        Some(Class { index, label, score, output: several.then(|| name.clone()) })
    };
    let classes = elements.iter().map(|element| {
        let shown = String::from_utf8_lossy(element);
        read(element).ok_or_else(|| {
            Failure::bad_reply(format!("output '{name}': '{shown}' is no class, as SCORE:INDEX:LABEL is"))
        })
    });
    classes.collect()
}

/// The classes with the most of all scores, for each row of the tensor.
fn best(output: &Named, top: usize, several: bool) -> Vec<Class> {
    let scores = numbers(&output.tensor).unwrap_or_default();
    let row = output.tensor.shape().dims().last().copied().unwrap_or(1).max(1);
    let rows = scores.chunks(row).map(|row| {
        let mut classes: Vec<Class> = (0..)
            .zip(row)
            .map(|(index, score)| Class {
                index,
                label: None,
                score: *score,
                output: several.then(|| output.name.clone()),
            })
            .collect();
        classes.sort_by(|one, other| other.score.total_cmp(&one.score));
        classes.truncate(top);
        classes
    });
    rows.flatten().collect()
}

/// The JSON in the first element.
fn json_of(output: &Named) -> Result<Value, Failure> {
    let Named { name, tensor } = output;
    let first = strings(name, tensor)?.first().map(Bytes::as_ref).unwrap_or(b"[]");
    serde_json::from_slice(first)
        .map_err(|error| Failure::bad_reply(format!("output '{name}' of the reply is no JSON: {error}")))
}

/// The things of a list; `None` where it is another JSON.
fn things(json: &Value) -> Option<Vec<Detection>> {
    json.as_array()?.iter().map(thing).collect()
}

fn thing(json: &Value) -> Option<Detection> {
    let number = |key: &str| json.get(key).and_then(Value::as_f64);
    let text = |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let place = match json.get("box") {
        Some(place) => pairs(place)?.concat().try_into().ok()?,
        None => [number("x")?, number("y")?, number("width")?, number("height")?],
    };
    Some(Detection {
        label: text("label").or_else(|| text("text")).unwrap_or_default().into(),
        class: json.get("class").or_else(|| json.get("class_id")).and_then(Value::as_i64),
        score: number("score"),
        place,
        points: json.get("points").map_or(Some(Vec::new()), pairs)?,
        json: json.clone(),
    })
}

/// Numbers two by two, whether they lie in a list of pairs or one after the other.
fn pairs(json: &Value) -> Option<Vec<[f64; 2]>> {
    let flat = |value: &Value| match value {
        Value::Array(pair) => pair.iter().map(Value::as_f64).collect::<Option<Vec<_>>>(),
        number => number.as_f64().map(|number| vec![number]),
    };
    let numbers = json.as_array()?.iter().map(flat).collect::<Option<Vec<_>>>()?.concat();
    Some(numbers.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use frameserve::tensor::Shape;

    fn strings_of(name: &str, strings: &[&str]) -> Named {
        let elements = strings.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        let tensor = Tensor::elements(Shape::new(vec![strings.len()]), elements).unwrap();
        Named { name: name.into(), tensor }
    }

    fn read(task: &Task, output: Named, threshold: Option<f64>) -> Result<Found, Failure> {
        Found::read(task, vec![output], threshold)
    }

    #[test]
    fn classes_are_read_with_and_without_labels() {
        let task = Task::Classification { outputs: vec!["y".into()], top: 2 };
        let found = read(&task, strings_of("y", &["0.75:281:tabby: cat", "1e-3:7"]), None).unwrap();
        let Found::Classes(classes) = found else { panic!("classes") };
        assert_eq!((classes[0].index, classes[0].label.as_deref()), (281, Some("tabby: cat")));
        assert_eq!((classes[1].score, &classes[1].label), (0.001, &None));
        let kept = read(&task, strings_of("y", &["0.75:281", "0.1:7"]), Some(0.5)).unwrap();
        assert_eq!(kept.json(), json!({ "classes": [{ "index": 281, "score": 0.75 }] }));
        assert!(read(&task, strings_of("y", &["cat"]), None).unwrap_err().message.contains("'cat'"));
    }

    #[test]
    fn scores_are_sorted_here_where_the_server_does_not() {
        let scores = Bytes::from([0.1f32, 0.7, 0.2].map(f32::to_le_bytes).concat());
        let tensor = Tensor::raw(DataType::Fp32, Shape::new(vec![1, 3]), scores).unwrap();
        let task = Task::Classification { outputs: vec!["y".into()], top: 2 };
        let found = read(&task, Named { name: "y".into(), tensor }, None).unwrap();
        let Found::Classes(classes) = found else { panic!("classes") };
        assert_eq!(classes.iter().map(|class| class.index).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn detections_have_places_and_points() {
        let text = r#"[{"label":"face","class":0,"score":0.9,"box":[1,2,30,40],"points":[5,6,7,8]},
            {"score":0.2,"box":[0,0,1,1],"points":[[5,6]]}]"#;
        let found = read(&Task::Detection, strings_of("detections", &[text]), None).unwrap();
        let Found::Detections(things) = &found else { panic!("detections") };
        assert_eq!(
            (things[0].place, &things[0].points),
            ([1.0, 2.0, 30.0, 40.0], &vec![[5.0, 6.0], [7.0, 8.0]])
        );
        assert_eq!(things[1].points, [[5.0, 6.0]]);
        assert_eq!(found.json()["detections"][0]["label"], "face");
        let kept = read(&Task::Detection, strings_of("detections", &[text]), Some(0.5)).unwrap();
        assert_eq!(kept.json()["detections"].as_array().unwrap().len(), 1);
        for bad in ["{}", "[1]", "[{}]", "no"] {
            assert!(read(&Task::Detection, strings_of("detections", &[bad]), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn findings_of_any_form_are_kept() {
        for (text, expected) in [
            (r#"{"measures":{"x":1},"detections":[]}"#, json!({ "measures": { "x": 1 }, "detections": [] })),
            (
                r#"[{"x":1,"y":2,"width":3,"height":4}]"#,
                json!({ "detections": [{"x":1,"y":2,"width":3,"height":4}] }),
            ),
            ("7", json!({ "found": 7, "detections": [] })),
        ] {
            let found = read(&Task::Pipeline, strings_of("findings", &[text]), None).unwrap();
            assert_eq!(found.json(), json!({ "findings": expected }));
        }
    }
}
