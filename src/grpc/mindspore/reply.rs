//! What came of a request, as one message.

use super::fault::Fault;
use crate::proto::mindspore::{ErrorMsg, Instance, PredictReply, ServableSpec};

/// Instances and errors as clients expect them: no errors if all is well; one error and no instances if the whole
/// request failed, or all of its instances for the same reason; else as many of both as there were in the request.
pub fn message(spec: Option<ServableSpec>, ran: Result<Vec<Result<Instance, Fault>>, Fault>) -> PredictReply {
    let reply = |instances, error_msg| PredictReply { servable_spec: spec, instances, error_msg };
    let ran = match ran {
        Ok(ran) => ran,
        Err(fault) => return reply(Vec::new(), vec![fault.into()]),
    };
    if ran.iter().all(Result::is_ok) {
        return reply(ran.into_iter().flatten().collect(), Vec::new());
    }
    let first = ran.first().and_then(|first| first.as_ref().err());
    if let Some(same) = first.filter(|same| ran.iter().all(|ran| ran.as_ref().err() == Some(same))) {
        let same = same.clone();
        return reply(Vec::new(), vec![same.into()]);
    }
    let (instances, errors) = ran
        .into_iter()
        .map(|ran| match ran {
            Ok(instance) => (instance, ErrorMsg::default()),
            Err(fault) => (Instance::default(), fault.into()),
        })
        .unzip();
    reply(instances, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_none_one_or_as_many_as_instances() {
        let counts = |ran| {
            let PredictReply { instances, error_msg, .. } = message(None, ran);
            let codes: Vec<_> = error_msg.iter().map(|error| error.error_code).collect();
            (instances.len(), codes)
        };
        let (good, bad) = (|| Ok(Instance::default()), |why: &str| Err(Fault::invalid(why)));
        assert_eq!(counts(Ok(vec![good(), good()])), (2, vec![]));
        assert_eq!(counts(Ok(vec![good(), bad("a"), good()])), (3, vec![0, 2, 0]));
        assert_eq!(counts(Ok(vec![bad("a"), bad("b")])), (2, vec![2, 2]));
        assert_eq!(counts(Ok(vec![bad("a"), bad("a")])), (0, vec![2]));
        assert_eq!(counts(Ok(vec![bad("a")])), (0, vec![2]));
        assert_eq!(counts(Err(Fault::invalid("all"))), (0, vec![2]));
    }
}
