//! The instances of one version: how many there are, where they run, and how that changes while they work.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::Builder;
use std::time::SystemTime;

use super::backend::{Habits, Opened, Pixels};
use super::device::Device;
use super::instance::{Condition, Instance, Open, Requests};
use super::pictures::Converts;
use super::settings::Settings;
use super::statistics::Statistics;
use crate::error::Error;
use crate::exec::line::Dismissal;

/// All instances of a version, and what is needed to have more of them.
pub(super) struct Staff {
    settings: Arc<Settings>,
    number: u64,
    open: Arc<Open>,
    pub requests: Arc<Requests>,
    pub condition: Arc<Condition>,
    pub statistics: Arc<Statistics>,
    roster: Arc<Mutex<Roster>>,
    /// One change at a time.
    changing: Mutex<()>,
}

/// Who is there.
#[derive(Default)]
struct Roster {
    members: Vec<Member>,
    /// The last one's number.
    hired: usize,
    /// How many there should be.
    wanted: Wanted,
    /// What they share, for as long as one of them has it.
    opened: Option<Weak<dyn Opened>>,
    /// What of a request may be.
    pixels: Pixels,
}

/// How many instances there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// At least.
    pub min: usize,
    /// At most.
    pub max: usize,
}

/// One instance, as others see it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its number, from 1. No other of its version ever has the same.
    pub number: usize,
    /// Where it runs.
    pub device: Device,
    /// When it was ready.
    pub since: SystemTime,
    /// It was sent away, and finishes what it works on.
    pub leaving: bool,
    dismissal: Arc<Dismissal>,
}

/// An instance's place among the others. Dropping it gives the place up.
pub(super) struct Contract {
    number: usize,
    device: Device,
    dismissal: Arc<Dismissal>,
    roster: Arc<Mutex<Roster>>,
}

/// Instances that one version may have.
pub const MOST: usize = 256;

/// A new instance, and what lets it begin.
struct Hired {
    member: Member,
    begin: mpsc::Sender<()>,
}

impl Staff {
    /// None yet. The line that the requests wait in is closed until there are some.
    pub fn new(settings: Arc<Settings>, number: u64, open: Arc<Open>, requests: Requests) -> Self {
        let staff = Staff {
            settings,
            number,
            open,
            requests: Arc::new(requests),
            condition: Arc::default(),
            statistics: Arc::default(),
            roster: Arc::default(),
            changing: Mutex::default(),
        };
        staff.requests.close(staff.nobody());
        staff
    }

    /// Makes as many as are in this range, with the fewest changes. Returns when new ones are ready; those that go
    /// finish what they work on, and nobody waits for that. New ones run where the fewest are of these devices.
    pub fn change(&self, wanted: RangeInclusive<usize>, devices: &[Device]) -> Result<(), Error> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (min, max) = (*wanted.start(), *wanted.end());
        if max > MOST || min > max {
            let range = format!("at most {MOST}, and no fewer at most than at least");
            return Err(Error::Range { what: "instances", value: format!("{min} to {max}"), range });
        }
        let there = self.instances();
        if there.len() < min {
            let places = places(there, devices, min);
            self.hire(&places)?;
        } else {
            self.dismiss_all_but(max);
        }
        self.roster().wanted = Wanted { min, max };
        Ok(())
    }

    /// Where they run, without those that are leaving.
    pub fn instances(&self) -> Vec<Device> {
        let roster = self.roster();
        roster.members.iter().filter(|member| !member.leaving).map(|member| member.device).collect()
    }

    /// All of them, also those that are leaving.
    pub fn members(&self) -> Vec<Member> {
        self.roster().members.clone()
    }

    /// What of a request they take and give as pixels, and not as tensors.
    pub fn pixels(&self) -> Pixels {
        self.roster().pixels
    }

    /// How they run; nothing is known of it where there are none.
    pub fn habits(&self) -> Habits {
        let opened = self.roster().opened.as_ref().and_then(Weak::upgrade);
        opened.map(|opened| opened.habits()).unwrap_or_default()
    }

    /// How many there should be.
    pub fn wanted(&self) -> Wanted {
        self.roster().wanted
    }

    /// Starts one on each of these devices. They begin to work once all of them are ready; if one can't be made, none
    /// of them does.
    pub fn hire(&self, devices: &[Device]) -> Result<(), Error> {
        let nobody = self.instances().is_empty();
        let opened = self.opened()?;
        if nobody {
            self.condition.forgive();
            self.roster().pixels = pixels(&self.settings, devices, &*opened);
        }
        let (ready, made) = mpsc::channel();
        let start = |device: &Device| self.start(*device, &opened, ready.clone());
        let hired = devices.iter().map(start).collect::<Result<Vec<Hired>, Error>>()?;
        drop(ready);
        for _ in &hired {
            // All report, unless one of them could not even do that.
            made.recv().map_err(|_| Error::Load("an instance ended while it was made".into()))??;
        }
        let mut roster = self.roster();
        let begins: Vec<_> = hired.iter().map(|hired| hired.begin.clone()).collect();
        roster.members.extend(
            hired.into_iter().map(|Hired { member, .. }| Member { since: SystemTime::now(), ..member }),
        );
        let there = roster.members.iter().filter(|member| !member.leaving).count();
        roster.wanted = Wanted { min: there, max: there };
        drop(roster);
        self.requests.open(there);
        for begin in begins {
            let _it_waits_for_this = begin.send(());
        }
        Ok(())
    }

    fn start(
        &self,
        device: Device,
        opened: &Arc<dyn Opened>,
        ready: mpsc::Sender<Result<(), Error>>,
    ) -> Result<Hired, Error> {
        let number = {
            let mut roster = self.roster();
            roster.hired += 1;
            roster.hired
        };
        let dismissal = Arc::new(Dismissal::default());
        let contract =
            Contract { number, device, dismissal: Arc::clone(&dismissal), roster: Arc::clone(&self.roster) };
        let instance = Instance {
            settings: Arc::clone(&self.settings),
            opened: Arc::clone(opened),
            open: Arc::clone(&self.open),
            requests: Arc::clone(&self.requests),
            condition: Arc::clone(&self.condition),
            statistics: Arc::clone(&self.statistics),
            pixels: self.roster().pixels,
            contract,
        };
        let (begin, begun) = mpsc::channel();
        let thread = Builder::new().name(format!("{}-{}", self.settings.name, number - 1));
        let started = thread.spawn(move || {
            let made = instance.make();
            let _gone = ready.send(made.as_ref().map(drop).map_err(Error::clone));
            drop(ready);
            if let (Ok(model), Ok(())) = (made, begun.recv()) {
                instance.work(model);
            }
        });
        started.map_err(|error| Error::Load(format!("no thread can be started for it: {error}")))?;
        let member = Member { number, device, since: SystemTime::now(), leaving: false, dismissal };
        Ok(Hired { member, begin })
    }

    /// What instances are made of: what others have in memory, or what lies on disk.
    fn opened(&self) -> Result<Arc<dyn Opened>, Error> {
        if let Some(opened) = self.roster().opened.as_ref().and_then(Weak::upgrade) {
            return Ok(opened);
        }
        let opened = (self.open)()?;
        self.roster().opened = Some(Arc::downgrade(&opened));
        Ok(opened)
    }

    /// Sends away those that came last. Where nobody is left, what waits is worked off first.
    fn dismiss_all_but(&self, count: usize) {
        let mut roster = self.roster();
        let there = roster.members.iter_mut().filter(|member| !member.leaving);
        let go = there.skip(count).map(|member| {
            member.leaving = true;
            Arc::clone(&member.dismissal)
        });
        let go: Vec<_> = go.collect();
        drop(roster);
        match count {
            0 => self.requests.close(self.nobody()),
            count if !go.is_empty() => self.requests.open(count),
            _ => {}
        }
        for dismissal in go {
            self.requests.dismiss(&dismissal);
        }
    }

    fn nobody(&self) -> Error {
        Error::ModelNotReady { model: self.settings.name.clone(), version: self.number }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contract {
    /// Where the instance runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What tells it to go.
    pub fn dismissal(&self) -> &Dismissal {
        &self.dismissal
    }
}

impl Drop for Contract {
    fn drop(&mut self) {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        roster.members.retain(|member| member.number != self.number);
    }
}

/// What is to be pixels: all that can be, where the configuration says so, or says nothing and all instances are on
/// GPUs. To those, fewer bytes go this way, and they convert faster than a processor does.
fn pixels(settings: &Settings, instances: &[Device], opened: &dyn Opened) -> Pixels {
    let Some(pictures) = &settings.pictures else { return Pixels::default() };
    let on_gpus = instances.iter().all(|device| matches!(device, Device::Cuda(_)));
    let usual = if on_gpus { Converts::Device } else { Converts::Host };
    if pictures.converts.unwrap_or(usual) == Converts::Host {
        return Pixels::default();
    }
    if !opened.takes_pixels() {
        if pictures.converts.is_some() {
            let (model, backend) = (&settings.name, &settings.backend);
            tracing::warn!(
                model,
                "not used: frameserve.convert `device`: backend `{backend}` takes tensors only"
            );
        }
        return Pixels::default();
    }
    // What has another shape inside of the model is no picture there.
    let as_it_is = |output: usize| settings.signature.outputs[output].reshape.is_none();
    let output = pictures.picture_output().is_some_and(|picture| as_it_is(picture.output));
    Pixels { input: true, output }
}

/// Where those are to run that are missing.
fn places(mut there: Vec<Device>, devices: &[Device], wanted: usize) -> Vec<Device> {
    let mut places = Vec::new();
    while there.len() < wanted {
        let count = |device: &&Device| there.iter().filter(|there| there == device).count();
        let Some(device) = devices.iter().min_by_key(count).copied() else { break };
        there.push(device);
        places.push(device);
    }
    places
}
