//! Which input of a configuration is which argument of the graph, and which output is which of its values.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::model::signature::{Port, Signature};

/// What the `forward` of a TorchScript program takes and gives. It says no data types and no shapes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// Its tensors, in order, each with its name if it has one; `None` where only a run tells what they are.
    pub returns: Option<Vec<Option<String>>>,
}

/// An argument of `forward`.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its type, as TorchScript writes it.
    pub type_name: String,
    /// What of ours it takes.
    pub takes: Takes,
    /// Whether it has a default, or may be None.
    pub optional: bool,
}

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Takes {
    /// One tensor.
    Tensor,
    /// All inputs, in a list.
    List,
    /// All inputs, in a dict by their names.
    Dict,
    /// No tensor.
    Other,
}

/// Where the inputs of a signature go.
#[derive(Debug, Clone, PartialEq)]
pub struct Inward {
    /// How they are passed.
    pub takes: Takes,
    /// The argument of each.
    pub arguments: Vec<usize>,
}

/// Which of the values that a run gave are the outputs of a signature.
#[derive(Debug, Clone, PartialEq)]
pub enum Outward {
    /// Those at these places.
    Places(Vec<usize>),
    /// Those of the outputs' names.
    Names,
    /// If they have names, those of the outputs' names; else all, in order.
    Given,
}

impl From<i32> for Takes {
    fn from(number: i32) -> Self {
        match number {
            0 => Takes::Tensor,
            1 => Takes::List,
            2 => Takes::Dict,
            _ => Takes::Other,
        }
    }
}

impl Graph {
    /// Finds each input's argument: by the number behind `__`, else by name, else by the order.
    pub fn inward(&self, signature: &Signature) -> Result<Inward, Error> {
        let inputs = &signature.inputs;
        let wrong = |reason: String| {
            Error::Load(format!("{reason}; the model's arguments are {}", self.list_arguments()))
        };
        if let Some(takes) = self.takes_all() {
            return match inputs.iter().find(|input| input.optional && takes == Takes::List) {
                Some(input) => Err(wrong(format!("input `{}` is part of a list: not optional", input.name))),
                None => Ok(Inward { takes, arguments: vec![0; inputs.len()] }),
            };
        }
        let named = |port: &Port| self.arguments.iter().position(|argument| argument.name == port.name);
        let arguments = numbered(inputs)
            .or_else(|| inputs.iter().map(named).collect())
            .unwrap_or_else(|| (0..inputs.len()).collect::<Vec<_>>());
        distinct(inputs, &arguments).map_err(wrong)?;
        for (input, at) in inputs.iter().zip(&arguments) {
            self.fits(input, *at).map_err(wrong)?;
        }
        let missing = |(at, argument): &(usize, &Argument)| !argument.optional && !arguments.contains(at);
        if let Some((_, argument)) = self.arguments.iter().enumerate().find(missing) {
            return Err(wrong(format!("no input is for the argument `{}`", argument.name)));
        }
        Ok(Inward { takes: Takes::Tensor, arguments })
    }

    /// How outputs are found: by the number behind `__`, else by name, else by the order.
    pub fn outward(&self, signature: &Signature) -> Result<Outward, Error> {
        let outputs = &signature.outputs;
        if let Some(places) = numbered(outputs) {
            let count = self.returns.as_ref().map_or(usize::MAX, Vec::len);
            distinct(outputs, &places).map_err(Error::Load)?;
            return match outputs.iter().zip(&places).find(|(_, place)| **place >= count) {
                Some((output, place)) => Err(Error::Load(format!(
                    "output `{}` would be number {place}, and the model gives {count} tensors, from 0",
                    output.name
                ))),
                None => Ok(Outward::Places(places)),
            };
        }
        let Some(returns) = &self.returns else { return Ok(Outward::Given) };
        if outputs.iter().all(|output| returns.iter().any(|name| name.as_ref() == Some(&output.name))) {
            return Ok(Outward::Names);
        }
        if returns.len() != outputs.len() {
            let names = returns.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            return Err(Error::Load(format!(
                "the configuration has {} outputs, and the model gives {} tensors{names}: to choose some of \
                 them, name the outputs NAME__NUMBER, from 0",
                outputs.len(),
                returns.len()
            )));
        }
        Ok(Outward::Places((0..outputs.len()).collect()))
    }

    /// How the first argument takes all inputs together, if it does and no other is needed.
    fn takes_all(&self) -> Option<Takes> {
        let (first, rest) = self.arguments.split_first()?;
        let all = matches!(first.takes, Takes::List | Takes::Dict) && rest.iter().all(|other| other.optional);
        all.then_some(first.takes)
    }

    fn fits(&self, input: &Port, at: usize) -> Result<(), String> {
        let name = &input.name;
        let Some(argument) = self.arguments.get(at) else {
            return Err(format!("there is no argument for the input `{name}`, which would be number {at}"));
        };
        if argument.takes != Takes::Tensor {
            let reason = "which is no single tensor";
            return Err(format!(
                "the argument `{}` for the input `{name}` is of type {}, {reason}",
                argument.name, argument.type_name
            ));
        }
        if input.optional && !argument.optional {
            return Err(format!(
                "the input `{name}` is optional, and the argument `{}` has no default",
                argument.name
            ));
        }
        Ok(())
    }

    fn list_arguments(&self) -> String {
        if self.arguments.is_empty() {
            return "none".into();
        }
        let one = |argument: &Argument| {
            let default = if argument.optional { " (can be left out)" } else { "" };
            format!("`{}: {}`{default}", argument.name, argument.type_name)
        };
        self.arguments.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The numbers behind `__` in the names, if all have one.
fn numbered(ports: &[Port]) -> Option<Vec<usize>> {
    let number = |port: &Port| {
        let digits = port.name.rsplit_once("__")?.1;
        // `parse` would take a sign too.
        digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    ports.iter().map(number).collect()
}

/// Refuses two ports of one number.
fn distinct(ports: &[Port], numbers: &[usize]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match ports.iter().zip(numbers).find(|(_, number)| !seen.insert(**number)) {
        Some((port, number)) => Err(format!("`{}` is the second with the number {number}", port.name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DataType, Dims};

    fn ports(names: &[&str]) -> Vec<Port> {
        let port = |name: &&str| Port {
            name: (*name).into(),
            datatype: DataType::Fp32,
            dims: Dims::default(),
            reshape: None,
            optional: name.ends_with('?'),
            labels: None,
        };
        names.iter().map(port).collect()
    }

    fn graph(arguments: &[(&str, Takes, bool)]) -> Graph {
        let argument = |&(name, takes, optional): &(&str, Takes, bool)| Argument {
            name: name.into(),
            type_name: format!("{takes:?}"),
            takes,
            optional,
        };
        Graph { arguments: arguments.iter().map(argument).collect(), returns: None }
    }

    fn inward(graph: &Graph, names: &[&str]) -> Result<Vec<usize>, String> {
        let signature = Signature { inputs: ports(names), ..Signature::default() };
        graph.inward(&signature).map(|inward| inward.arguments).map_err(|error| error.to_string())
    }

    fn outward(returns: Option<&[&str]>, names: &[&str]) -> Result<Outward, String> {
        let name = |name: &&str| (!name.is_empty()).then(|| (*name).to_owned());
        let returns = returns.map(|names| names.iter().map(name).collect());
        let signature = Signature { outputs: ports(names), ..Signature::default() };
        Graph { returns, ..Graph::default() }.outward(&signature).map_err(|error| error.to_string())
    }

    #[test]
    fn inputs_go_by_number_then_by_name_then_by_order() {
        let graph = graph(&[
            ("a", Takes::Tensor, false),
            ("b", Takes::Tensor, true),
            ("n", Takes::Other, true),
            ("c", Takes::Tensor, true),
        ]);
        assert_eq!(inward(&graph, &["y__1", "x__0"]), Ok(vec![1, 0]));
        assert_eq!(inward(&graph, &["b", "a"]), Ok(vec![1, 0]));
        assert_eq!(inward(&graph, &["b", "x"]), Ok(vec![0, 1]));
        assert_eq!(inward(&graph, &["c", "a"]), Ok(vec![3, 0]));
        let refused = |names: &[&str]| inward(&graph, names).unwrap_err();
        assert!(refused(&["x__0", "y__0"]).contains("`y__0` is the second with the number 0"));
        assert!(refused(&["x__0", "y__9"]).contains("`y__9`, which would be number 9"));
        assert!(refused(&["b"]).contains("no input is for the argument `a`"));
        assert!(refused(&["x", "y", "z"]).contains("`n` for the input `z` is of type Other"));
        assert!(refused(&["x?"]).contains("`x?` is optional, and the argument `a` has no default"));
        assert!(refused(&["x__1"]).contains("no input is for the argument `a`"));
        assert!(refused(&["x__1"]).contains("`b: Tensor` (can be left out)"));
    }

    #[test]
    fn a_list_or_a_dict_takes_all_inputs() {
        let list = graph(&[("all", Takes::List, false), ("more", Takes::Other, true)]);
        assert_eq!(inward(&list, &["x", "y"]), Ok(vec![0, 0]));
        assert!(inward(&list, &["x", "y?"]).unwrap_err().contains("`y?` is part of a list"));
        let two = graph(&[("all", Takes::List, false), ("more", Takes::Tensor, false)]);
        assert!(inward(&two, &["all", "more"]).unwrap_err().contains("no single tensor"));
    }

    #[test]
    fn outputs_go_by_number_then_by_name_then_by_order() {
        assert_eq!(outward(Some(&["", "", ""]), &["y__2", "x__0"]), Ok(Outward::Places(vec![2, 0])));
        assert_eq!(outward(Some(&["p", "q"]), &["q"]), Ok(Outward::Names));
        assert_eq!(outward(Some(&["p", "q"]), &["x", "y"]), Ok(Outward::Places(vec![0, 1])));
        assert_eq!(outward(None, &["x", "y"]), Ok(Outward::Given));
        let number = outward(Some(&["", ""]), &["x__2"]).unwrap_err();
        assert!(number.contains("`x__2` would be number 2, and the model gives 2"), "{number}");
        let count = outward(Some(&["p", "q"]), &["x"]).unwrap_err();
        assert!(count.contains("1 outputs, and the model gives 2 tensors (`p`, `q`)"), "{count}");
    }
}
