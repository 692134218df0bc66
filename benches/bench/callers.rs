//! What happens when ever more callers come: whether as much is answered, and what memory it takes.

use frameserve::limits::Limits;

use crate::args::Task;
use crate::classifier::{missing, requests as of_classifier};
use crate::infer::requests as of_identity;
use crate::models::{Answered, Requests, classifier, frameserve, repository};
use crate::pairs::{Spread, median};
use crate::process::{Server, myself};
use crate::report::{Table, verdict};
use crate::{Result, Setting};

const CALLERS: [u32; 3] = [8, 64, 256];
/// Of what 8 callers get answered, 256 are to get so much.
const TARGET: f64 = 0.9;

pub fn measure(setting: &Setting) -> Result<String> {
    let classifier = if missing().is_none() { classifier()? } else { None };
    let folder = repository(classifier.as_deref())?;
    let mut table = Table::new(&[
        "served",
        "callers",
        "OK replies/s",
        "of those with 8",
        "target: 0.9",
        "refused",
        "p50, ms",
        "p99, ms",
        "memory at most, MiB",
        "target: no more than before, and --max-job-bytes",
    ]);
    let ours = || frameserve(&folder, None);
    // How much less goes through the machine when all that is under way does not fit into its caches.
    let echo = Server::start(myself(&Task::Echo)?, None)?;
    rows(setting, &mut table, Served { what: "identity", server: ours()?, requests: of_identity })?;
    rows(setting, &mut table, Served { what: "bare tonic echo", server: echo, requests: of_identity })?;
    if classifier.is_some() {
        rows(setting, &mut table, Served { what: "classifier", server: ours()?, requests: of_classifier })?;
    }
    Ok(table.to_string())
}

struct Served {
    what: &'static str,
    server: Server,
    requests: fn(&Setting, u32) -> Requests,
}

fn rows(setting: &Setting, table: &mut Table, served: Served) -> Result<()> {
    let Served { what, server, requests } = served;
    let before = server.resident()?;
    let bound = before + Limits::default().max_job_bytes as u64;
    let mut seen = CALLERS.map(|_| Vec::new());
    let mut most = [0; CALLERS.len()];
    // All of them in turns, and the fewest first, so that the most memory is that of so many.
    for _ in 0..setting.pairs {
        for ((callers, seen), most) in CALLERS.into_iter().zip(&mut seen).zip(&mut most) {
            seen.push(requests(setting, callers).send(&server, None)?);
            *most = server.most_resident()?;
        }
    }
    let firsts: Vec<f64> = seen[0].iter().map(|answered| answered.requests_per_second).collect();
    for ((callers, seen), most) in CALLERS.into_iter().zip(&seen).zip(most) {
        let rates: Vec<f64> = seen.iter().map(|answered| answered.requests_per_second).collect();
        let parts: Vec<f64> = rates.iter().zip(&firsts).map(|(rate, first)| rate / first).collect();
        let part = Spread::of(&parts);
        let middle =
            |of: fn(&Answered) -> f64| format!("{:.2}", median(&seen.iter().map(of).collect::<Vec<_>>()));
        let refused: u64 = seen.iter().map(Answered::refused).sum();
        table.row([
            what.into(),
            callers.to_string(),
            format!("{:.0}", median(&rates)),
            part.to_string(),
            verdict(part.median, |part| part >= TARGET),
            refused.to_string(),
            middle(|answered| answered.latency_ms.p50),
            middle(|answered| answered.latency_ms.p99),
            format!("{:.0}", most as f64 / f64::from(1 << 20)),
            verdict(most as f64, |most| most <= bound as f64),
        ]);
    }
    Ok(())
}
