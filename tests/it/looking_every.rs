//! Models that look at one of so many frames, and what becomes of those between.

use frameserve::model::Control;
use frameserve::model::backend::Outputs;
use frameserve::proto::MsgReply;
use frameserve::tensor::{DataType, Shape, Tensor};

use crate::lookers::{fp32, reply, square, stream};
use crate::puppet::{ALONE, Hold, Puppet, Shelf, start, values};

/// Sees one thing, 20 pixels wide and 30 high, whose left edge is the picture's value.
fn follower() -> (Hold, Puppet) {
    let hold = Hold::default();
    hold.open(usize::MAX);
    let holding = hold.clone();
    let puppet = Puppet::new(move |_, batch| {
        holding.batch(batch);
        Ok(batch.iter().map(|inputs| thing_at(values(inputs[0].as_ref().unwrap())[0])).collect())
    });
    (hold, puppet)
}

fn thing_at(x: f32) -> Outputs {
    vec![
        fp32(&[1, 1, 4], &[x, 10.0, x + 20.0, 40.0]),
        fp32(&[1, 1], &[0.9]),
        Tensor::raw(DataType::Int64, Shape::new(vec![1, 1]), 0_i64.to_le_bytes().to_vec().into()).unwrap(),
    ]
}

fn measure(reply: &MsgReply, name: &str) -> f64 {
    reply.measures.iter().find(|measure| measure.name == name).unwrap().value
}

#[tokio::test]
async fn what_is_tracked_moves_on_while_the_model_does_not_look() {
    let (hold, puppet) = follower();
    let shelf = Shelf::new();
    shelf.looker("m", "detection", ALONE);
    let (server, _client) = start(&shelf, &puppet, Control::None).await;
    let mut talk = stream(&server, "every=4 | detect=m | track=min-hits=2 | count=distinct=true").await;
    for frame in 0..40 {
        // It walks three pixels a frame, which is 12 from one look to the next.
        talk.send(square(10 + 3 * frame, 160)).await;
        let reply = reply(&mut talk).await;
        let [found] = &reply.detections[..] else { panic!("{reply:?}") };
        assert_eq!(found.track_id, (frame >= 4).then_some(1), "frame {frame}");
        assert_eq!(measure(&reply, "count.things"), 1.0);
        assert_eq!(measure(&reply, "count.tracks"), if frame >= 4 { 1.0 } else { 0.0 });
        let there = f32::from(10 + 3 * frame);
        assert!(frame < 20 || (found.x - there).abs() < 1.5, "frame {frame}: {} and not {there}", found.x);
    }
    assert_eq!(hold.seen().concat(), (0..10).map(|look| 10.0 + 12.0 * look as f32).collect::<Vec<_>>());
}
