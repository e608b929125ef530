//! Clients on every reactor of a store, each asking for one thing after the other until the time is over.

use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use crate::sandbox::content;

/// Bytes of one content.
pub const BYTES: usize = 4096;

/// What clients ask for.
#[derive(Clone)]
pub enum Work {
    /// Contents of these keys, at random.
    Get(Arc<[Key]>),
    /// Durable puts of contents that were never there: the number of the run keeps runs apart.
    Put(u64),
}

/// Sends what a reactor's clients have done when the last of them is done.
struct Done {
    count: std::cell::Cell<u64>,
    sender: mpsc::Sender<u64>,
}

impl Drop for Done {
    fn drop(&mut self) {
        // Nobody waits for a run that has failed.
        let _ = self.sender.send(self.count.get());
    }
}

/// Operations per second with `depth` clients on each reactor.
pub fn rate(store: &Store, work: &Work, depth: u64, time: Duration) -> f64 {
    let (sender, receiver) = mpsc::channel();
    for (reactor, handle) in (0u64..).zip(store.runtime().handles()) {
        let (store, work, sender) = (store.clone(), work.clone(), sender.clone());
        handle.spawn(move |local| async move {
            let end = local.clock().now().after(time);
            let done = Rc::new(Done {
                count: Default::default(),
                sender,
            });
            for client in 0..depth {
                let (store, work, done, at) = (store.clone(), work.clone(), Rc::clone(&done), local.clone());
                local.spawn(async move {
                    // Numbers of no other client of this run or another.
                    let mut number = (reactor << 48) | (client << 40);
                    while at.clock().now() < end {
                        number += 1;
                        once(&store, &work, number).await;
                        done.count.set(done.count.get() + 1);
                    }
                });
            }
        });
    }
    drop(sender);
    let all: u64 = receiver.iter().sum();
    all as f64 / time.as_secs_f64()
}

async fn once(store: &Store, work: &Work, number: u64) {
    match work {
        Work::Get(keys) => {
            let drawn = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            let key = keys[(drawn % keys.len() as u64) as usize];
            store.get(key).await.expect("it was put");
        }
        Work::Put(run) => {
            let bytes = Bytes::from(content(number ^ (run << 56), BYTES));
            let key = Key {
                domain: Domain(0),
                kind: Kind::Data,
                id: hash::content_id(&bytes),
            };
            let mut batch = store.batch();
            batch.put(vec![Extent { key, bytes }]).await.expect("room");
            let ack = batch.submit().await.expect("room");
            ack.durable().await.expect("durable");
        }
    }
}
