//! Clients outside the reactors, on the one thread there is: polled when woken, in an order drawn from the seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

use crate::device::sim::Random;
use crate::store;

/// A future that passes for a thread of its own.
pub(super) struct AsThread<F> {
    number: usize,
    future: Pin<Box<F>>,
}

impl<F> AsThread<F> {
    pub fn new(number: usize, future: F) -> AsThread<F> {
        AsThread {
            number,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for AsThread<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let before = store::act_as_thread(self.number);
        let polled = self.future.as_mut().poll(context);
        store::act_as_thread(before);
        polled
    }
}

struct Bell {
    rung: AtomicBool,
    parent: Arc<Mutex<Option<Waker>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        if let Some(parent) = self.parent.lock().as_ref() {
            parent.wake_by_ref();
        }
    }
}

struct Member<'a> {
    future: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    bell: Arc<Bell>,
}

/// Ends when all its members have ended.
pub(super) struct Crowd<'a> {
    members: Vec<Member<'a>>,
    parent: Arc<Mutex<Option<Waker>>>,
    random: Random,
}

impl<'a> Crowd<'a> {
    pub fn new(random: Random) -> Crowd<'a> {
        Crowd {
            members: Vec::new(),
            parent: Arc::default(),
            random,
        }
    }

    pub fn add(&mut self, future: impl Future<Output = ()> + 'a) {
        self.members.push(Member {
            future: Some(Box::pin(future)),
            bell: Arc::new(Bell {
                rung: AtomicBool::new(true),
                parent: Arc::clone(&self.parent),
            }),
        });
    }
}

impl Future for Crowd<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let crowd = &mut *self;
        *crowd.parent.lock() = Some(context.waker().clone());
        let mut order: Vec<usize> = (0..crowd.members.len()).collect();
        crowd.random.shuffle(&mut order);
        for index in order {
            let member = &mut crowd.members[index];
            let Some(future) = &mut member.future else {
                continue;
            };
            if member.bell.rung.swap(false, Ordering::AcqRel) {
                let waker = Waker::from(Arc::clone(&member.bell));
                if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    member.future = None;
                }
            }
        }
        match crowd.members.iter().all(|member| member.future.is_none()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
