//! A stage that holds every frame until the test lets it through.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};

use frameserve::Error;
use frameserve::pipeline::param::{Args, Param, Range};
use frameserve::pipeline::spec::StageSpec;
use frameserve::pipeline::stage::{Group, Stage, StageKind, StageWorker, on_frame};
use tokio::sync::watch;

/// The stage is asked for by number, since its declaration has to be static.
static GATES: LazyLock<Mutex<HashMap<i32, Arc<Inner>>>> = LazyLock::new(Mutex::default);

static KIND: StageKind = StageKind {
    name: "gate",
    group: Group::Find,
    doc: "Holds frames.",
    params: &[Param::new("id", Range::Integer(0, i32::MAX), "Which gate.")],
    example: "gate=0",
    build,
};

/// A gate of one test. Dropping it opens it for good.
pub struct Gate {
    id: i32,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Frames that may still pass.
    allowed: Mutex<usize>,
    more: Condvar,
    arrived: watch::Sender<usize>,
}

impl Gate {
    pub fn new() -> Self {
        static NEXT: AtomicI32 = AtomicI32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let inner =
            Arc::new(Inner { allowed: Mutex::new(0), more: Condvar::new(), arrived: watch::Sender::new(0) });
        GATES.lock().unwrap().insert(id, Arc::clone(&inner));
        Gate { id, inner }
    }

    /// The stage, to give a name to.
    pub fn stages(&self) -> Vec<StageSpec> {
        vec![StageSpec::of(&KIND, &[("id", &self.id.to_string())]).unwrap()]
    }

    /// Waits until so many frames have come to the gate, since it was made.
    pub async fn arrived(&self, frames: usize) {
        self.inner.arrived.subscribe().wait_for(|arrived| *arrived >= frames).await.unwrap();
    }

    /// How many have come so far.
    pub fn count(&self) -> usize {
        *self.inner.arrived.borrow()
    }

    /// Lets so many more frames pass.
    pub fn open(&self, frames: usize) {
        let mut allowed = self.inner.allowed.lock().unwrap();
        *allowed = allowed.saturating_add(frames);
        self.inner.more.notify_all();
    }

    /// Holds all that come from now on.
    pub fn close(&self) {
        *self.inner.allowed.lock().unwrap() = 0;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open(usize::MAX);
    }
}

#[derive(Debug)]
struct GateStage(Arc<Inner>);

fn build(args: &Args) -> Result<Box<dyn Stage>, Error> {
    Ok(Box::new(GateStage(Arc::clone(&GATES.lock().unwrap()[&args.integer("id")]))))
}

impl Stage for GateStage {
    fn worker(&self) -> Result<Box<dyn StageWorker>, Error> {
        let gate = Arc::clone(&self.0);
        on_frame(move |_, _| {
            gate.arrived.send_modify(|arrived| *arrived += 1);
            let closed = gate.more.wait_while(gate.allowed.lock().unwrap(), |allowed| *allowed == 0);
            *closed.unwrap() -= 1;
            Ok(())
        })
    }
}
