//! Which versions of a model are loaded, how often, and where, by a configuration.

use std::collections::BTreeSet;

use super::refused;
use crate::error::Error;
use crate::model::settings::{Instances, Place, VersionPolicy};
use crate::proto::inference::model_instance_group::Kind;
use crate::proto::inference::model_version_policy::{Latest, PolicyChoice};
use crate::proto::inference::{ModelConfig, ModelInstanceGroup, ModelVersionPolicy};

/// Instances of one group on one device, each a thread with a model of its own.
const MAX_COUNT: i32 = 64;

/// Instances of all groups on one device.
const MAX_TOGETHER: usize = 256;

/// Fills in what a configuration may leave out: the one latest version, and one instance of a group on the CPU. How
/// many there are of one that may run on a GPU depends on where it does.
pub fn complete(config: &mut ModelConfig) {
    let policy = config.version_policy.get_or_insert_default();
    policy.policy_choice.get_or_insert(PolicyChoice::Latest(Latest { num_versions: 1 }));
    for (index, group) in config.instance_group.iter_mut().enumerate() {
        if group.name.is_empty() {
            group.name = format!("{}_{index}", config.name);
        }
        if group.count == 0 && group.kind() == Kind::Cpu {
            group.count = 1;
        }
        if group.kind() == Kind::Auto && !group.gpus.is_empty() {
            group.set_kind(Kind::Gpu);
        }
    }
}

/// Which versions are served.
pub fn versions(policy: Option<&ModelVersionPolicy>) -> Result<VersionPolicy, Error> {
    match policy.and_then(|policy| policy.policy_choice.as_ref()) {
        None => Ok(VersionPolicy::Latest(1)),
        Some(PolicyChoice::All(_)) => Ok(VersionPolicy::All),
        Some(PolicyChoice::Latest(Latest { num_versions: 0 })) => {
            Err(refused("version_policy.latest.num_versions", 0, "it must be 1 or more"))
        }
        Some(PolicyChoice::Latest(Latest { num_versions })) => {
            Ok(VersionPolicy::Latest(usize::try_from(*num_versions).unwrap_or(usize::MAX)))
        }
        Some(PolicyChoice::Specific(specific)) => {
            let field = "version_policy.specific.versions";
            if specific.versions.is_empty() {
                return Err(refused(field, "[]", "there must be at least one"));
            }
            let versions = specific.versions.iter().map(|&version| {
                let number = u64::try_from(version).ok().filter(|number| *number > 0);
                number.ok_or_else(|| refused(field, version, "it must be 1 or more"))
            });
            Ok(VersionPolicy::Specific(versions.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect()))
        }
    }
}

/// Where and how often the model is loaded.
pub fn instances(groups: &[ModelInstanceGroup]) -> Result<Vec<Instances>, Error> {
    let groups = groups.iter().map(group).collect::<Result<Vec<_>, _>>()?;
    let together: usize = groups.iter().map(|group| group.count).sum();
    if together > MAX_TOGETHER {
        let rule = format!("all groups together may have up to {MAX_TOGETHER}");
        return Err(refused("instance_group", together, rule));
    }
    Ok(groups)
}

fn group(group: &ModelInstanceGroup) -> Result<Instances, Error> {
    let wrong = |field: &str, value: &dyn std::fmt::Display, rule: &str| {
        Err(refused(&format!("instance_group `{}`: {field}", group.name), value, rule))
    };
    let count = match usize::try_from(group.count) {
        Ok(count) if group.count <= MAX_COUNT => count,
        _ => return wrong("count", &group.count, &format!("it must be from 1 to {MAX_COUNT}")),
    };
    let mut gpus = Vec::new();
    for gpu in &group.gpus {
        match usize::try_from(*gpu) {
            Err(_) => return wrong("gpus", gpu, "GPUs are numbered from 0"),
            Ok(number) if gpus.contains(&number) => return wrong("gpus", gpu, "it stands there twice"),
            Ok(number) => gpus.push(number),
        }
    }
    let place = match Kind::try_from(group.kind) {
        Ok(Kind::Auto) => Place::Auto,
        Ok(Kind::Cpu) if !gpus.is_empty() => return wrong("gpus", &group.gpus[0], "the kind is KIND_CPU"),
        Ok(Kind::Cpu) => Place::Cpu,
        Ok(Kind::Gpu) => Place::Gpus(gpus),
        Ok(Kind::Model) => {
            return wrong("kind", &"KIND_MODEL", "a model does not choose its devices: KIND_CPU or KIND_GPU");
        }
        Err(_) => return wrong("kind", &group.kind, "it must be KIND_AUTO, KIND_CPU or KIND_GPU"),
    };
    Ok(Instances { count, place })
}
