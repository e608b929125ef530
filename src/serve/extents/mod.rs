//! What clients ask of the store extent by extent, and the batches that are kept for them.
//!
//! A client that reads and writes directories itself (`attach`) asks which extents are here, sends those that are not, and moves
//! roots. All of it runs on the reactor of the connection.
//! Invariants: nothing a client sends is kept before it is checked (`trees::check_offered`): ids against bytes, form, and that
//! what it refers to is here; a turn of the reactor checks at most [`CHECKED_AT_ONCE`] bytes, or one extent. A batch ends with
//! its connection, and counts as a call under way until then, so that an owner that ends lets a command come to its end.
//! What a batch was told to be here stays until the batch ends.

mod batches;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use helios_engine::Error;
use helios_engine::access::{KEYS_AT_ONCE_MAX, PUT_BYTES_MAX};
use helios_engine::format::{Domain, Kind as ExtentKind};
use helios_engine::ops::{Class, Failure};
use helios_engine::reactor::oneshot;
use helios_engine::store::{Ack, Batch, Extent, Key, RootChange, RootKind, RootUpdate};
use helios_engine::trees::{self, Trees};

pub use batches::OpenBatches;
use batches::{BATCH_BYTES, Opened, Parents, State};

use super::admission::{Lane, Pass};
use super::connection::{Connection, Counted};
use super::counters::Timed;
use super::outbox::Reserved;
use super::workers::Place;
use crate::wire::extents::{
    Ask, NO_LENGTH, Refused, RootMove, RootTold, Told, read_extents, read_keys, write_answers,
};
use crate::wire::frame::{BODY_BYTES_MAX, Frame, Kind};
use crate::wire::message::Answer;

/// Root changes of one batch.
const ROOTS_MAX: usize = 64;
/// Bytes that one turn of the reactor hashes.
const CHECKED_AT_ONCE: usize = 256 << 10;
/// Keys that one turn of the reactor looks up, or extents that it checks.
const LOOKED_UP_AT_ONCE: usize = 1024;
/// Bytes of extents that are read, and sent, together.
const GOT_AT_ONCE: usize = 2 << 20;

fn nonsense(reason: impl Into<String>) -> Failure {
    Failure::new(Class::Invalid, reason)
}

/// The lane in which a question waits for its turn; none for what only begins, ends or waits for the device.
fn lane_of(ask: &Ask) -> Option<Lane> {
    match ask {
        Ask::Lengths | Ask::Get | Ask::Hold { .. } | Ask::Root { .. } | Ask::Roots { .. } => {
            Some(Lane::Looks)
        }
        Ask::Put { .. } | Ask::Submit { .. } => Some(Lane::Changes),
        Ask::Begin | Ask::Durable { .. } | Ask::End { .. } | Ask::Flush => None,
    }
}

/// Answers a question, or does what is to be done. What is refused as `Busy` has not begun and can be asked again.
pub fn ask(
    connection: &Rc<Connection>,
    call: u64,
    timed: Timed,
    ask: Ask,
    body: Bytes,
) -> Result<(), Failure> {
    // Questions take little; what is put is in memory until a part of it is full.
    let held = match ask {
        Ask::Put { .. } => connection.share.claim(2 * body.len())?,
        _ => connection.share.hold(body.len()),
    };
    if matches!(ask, Ask::Begin) {
        let opened = Opened {
            batch: connection.server.host.store().batch(),
            parents: HashMap::new(),
        };
        let counted = Counted::new(&connection.server);
        let memory = connection.share.claim(BATCH_BYTES)?;
        connection.batches.insert(call, opened, memory, counted)?;
    }
    let task = Rc::clone(connection);
    connection.spawn_call(call, timed, async move {
        task.gate.has_turn(timed.began);
        let mut pass = None;
        if let Some(lane) = lane_of(&ask) {
            pass = match task.gate.enter(task.number, lane).await {
                Ok(pass) => Some(pass),
                Err(busy) => return task.fail(call, &busy),
            };
        }
        if !task.is_wanted(call) {
            return;
        }
        let outcome = work(&task, call, ask, body, &mut pass).await;
        drop((pass, held));
        match outcome {
            Ok(told) => task.answer(call, &Answer::Store(told)),
            Err(failure) => task.fail(call, &failure),
        }
    });
    Ok(())
}

/// Whoever waits for a client, or for a thread, gives its place at the gate (`pass`) to others.
async fn work(
    connection: &Connection,
    call: u64,
    ask: Ask,
    body: Bytes,
    pass: &mut Option<Pass>,
) -> Result<Told, Failure> {
    let store = connection.server.host.store();
    let batches = &connection.batches;
    match ask {
        Ask::Begin => {
            return Ok(Told {
                batch: Some(call),
                ..Told::default()
            });
        }
        Ask::Lengths => {
            let mut answer = BytesMut::new();
            for keys in keys_of(&body)?.chunks(LOOKED_UP_AT_ONCE) {
                let lengths = keys.iter().map(|key| store.length(*key).unwrap_or(NO_LENGTH));
                lengths.for_each(|length| answer.put_u32_le(length));
                connection.local.yield_now().await;
            }
            output(connection, call, answer.freeze(), pass).await?;
        }
        Ask::Get => return get(connection, call, &keys_of(&body)?, pass).await,
        Ask::Hold { batch } => {
            let keys = keys_of(&body)?;
            let mut opened = match batches.take(batch, keys.len())? {
                State::Open(opened) => opened,
                State::Submitted(ack) => {
                    // What is visible is held as a lease holds it: for whoever has just been told of it.
                    ack.lease.hold_many(keys.iter().copied());
                    let found = store.contains(&keys);
                    batches.give_back(batch, State::Submitted(ack));
                    let answer: Bytes = found.into_iter().map(u8::from).collect();
                    output(connection, call, answer, pass).await?;
                    return Ok(Told::default());
                }
            };
            let mut answer = BytesMut::with_capacity(keys.len());
            for keys in keys.chunks(LOOKED_UP_AT_ONCE) {
                answer.extend(opened.batch.hold(keys).into_iter().map(u8::from));
                connection.local.yield_now().await;
            }
            batches.give_back(batch, State::Open(opened));
            output(connection, call, answer.freeze(), pass).await?;
        }
        Ask::Put { batch } => put(connection, batch, body).await?,
        Ask::Submit { batch, domain, roots } => {
            return submit(connection, batch, Domain(domain), roots, pass).await;
        }
        Ask::Durable { batch } => batches.acknowledgement(batch)?.durable().await?,
        Ask::End { batch } => batches.end(batch),
        Ask::Root { kind, name } => {
            let root = store.root(kind, name.as_bytes());
            return Ok(Told {
                roots: root.iter().map(RootTold::from).collect(),
                ..Told::default()
            });
        }
        Ask::Roots { kind } => {
            return Ok(Told {
                roots: store.roots(kind).iter().map(RootTold::from).collect(),
                ..Told::default()
            });
        }
        Ask::Flush => store.flush().await?,
    }
    Ok(Told::default())
}

fn keys_of(body: &[u8]) -> Result<Vec<Key>, Failure> {
    let keys = read_keys(body).map_err(nonsense)?;
    if keys.len() > KEYS_AT_ONCE_MAX {
        return Err(nonsense(format!(
            "{} keys; at most {KEYS_AT_ONCE_MAX} at once",
            keys.len()
        )));
    }
    Ok(keys)
}

/// Sends bytes before the answer.
async fn output(
    connection: &Connection,
    call: u64,
    bytes: Bytes,
    pass: &mut Option<Pass>,
) -> Result<(), Failure> {
    let reserved = room_for(connection, bytes.len(), pass).await?;
    drop(reserved);
    push(connection, call, &[bytes]);
    Ok(())
}

/// Keeps room for bytes that are to be sent.
async fn room_for<'a>(
    connection: &'a Connection,
    bytes: usize,
    pass: &mut Option<Pass>,
) -> Result<Reserved<'a>, Failure> {
    if !connection.outbox.has_room() {
        drop(pass.take());
    }
    let reserved = connection.outbox.reserve(bytes).await;
    reserved.ok_or_else(|| Failure::new(Class::Cancelled, "the client is gone"))
}

fn push(connection: &Connection, call: u64, parts: &[Bytes]) {
    if parts.iter().any(|part| !part.is_empty()) {
        let frame = Frame::new(Kind::Output, call, Bytes::new());
        connection.outbox.push_parts(frame, parts);
    }
}

/// Reads extents, as many at once as one frame takes, when there is room for them.
async fn get(
    connection: &Connection,
    call: u64,
    keys: &[Key],
    pass: &mut Option<Pass>,
) -> Result<Told, Failure> {
    let store = connection.server.host.store();
    let mut refused = Vec::new();
    let mut start = 0;
    while start < keys.len() {
        let (mut end, mut expected) = (start, 0);
        while end < keys.len() && end - start < LOOKED_UP_AT_ONCE {
            let length = store.length(keys[end]).unwrap_or(0) as usize;
            if end > start && expected + length > GOT_AT_ONCE {
                break;
            }
            expected += length;
            end += 1;
        }
        let reserved = room_for(connection, expected, pass).await?;
        let read = store.get_many(&keys[start..end]).await;
        let (mut answers, mut together) = (Vec::with_capacity(read.len()), 0);
        for (at, answer) in (start..).zip(read) {
            let answer = answer
                .map_err(|error| refused.push(Refused::new(at as u64, error)))
                .ok();
            let bytes = answer.as_ref().map_or(0, Bytes::len);
            // What came in between may be longer than it was.
            if together + bytes > BODY_BYTES_MAX - 4 * LOOKED_UP_AT_ONCE {
                push(connection, call, &write_answers(std::mem::take(&mut answers)));
                together = 0;
            }
            together += bytes;
            answers.push(answer);
        }
        drop(reserved);
        push(connection, call, &write_answers(answers));
        start = end;
    }
    Ok(Told {
        refused,
        ..Told::default()
    })
}

/// Takes extents into a batch, once they have proved to be what they say.
async fn put(connection: &Connection, number: u64, body: Bytes) -> Result<(), Failure> {
    let extents = read_extents(body).map_err(nonsense)?;
    let bytes: usize = extents.iter().map(|extent| extent.bytes.len()).sum();
    if extents.len() > KEYS_AT_ONCE_MAX || bytes > PUT_BYTES_MAX {
        return Err(nonsense(format!(
            "{} extents of {bytes} bytes; at most {KEYS_AT_ONCE_MAX} of {PUT_BYTES_MAX} bytes at once",
            extents.len()
        )));
    }
    let batches = &connection.batches;
    let mut opened = batches.take_open(number, extents.len())?;
    match take_in(connection, number, &mut opened, extents).await {
        Ok(()) => {
            batches.give_back(number, State::Open(opened));
            Ok(())
        }
        Err(failure) => {
            // What is in it already may be refused, or half of a part.
            batches.end(number);
            Err(failure)
        }
    }
}

async fn take_in(
    connection: &Connection,
    number: u64,
    opened: &mut Opened,
    extents: Vec<Extent>,
) -> Result<(), Failure> {
    let mut references = Vec::new();
    let mut rest = &extents[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let within = rest.iter().take(LOOKED_UP_AT_ONCE).take_while(|extent| {
            bytes += extent.bytes.len();
            bytes <= CHECKED_AT_ONCE
        });
        let (now, later) = rest.split_at(within.count().max(1));
        trees::check_offered(now, &mut references)?;
        rest = later;
        connection.local.yield_now().await;
    }
    let own: HashSet<Key> = extents.iter().map(|extent| extent.key).collect();
    references.retain(|key| !own.contains(key));
    let unique: HashSet<Key> = references.drain(..).collect();
    references.extend(unique);
    // Counted like what is asked for.
    let more = references.len();
    connection.batches.hold_more(number, more)?;
    for keys in references.chunks(LOOKED_UP_AT_ONCE) {
        let held = opened.batch.hold(keys);
        if let Some((key, _)) = keys.iter().zip(held).find(|(_, held)| !held) {
            let what = format!(
                "something offered refers to {} {}, which is not here",
                key.kind, key.id
            );
            return Err(nonsense(what));
        }
        connection.local.yield_now().await;
    }
    for extent in extents
        .iter()
        .filter(|extent| extent.key.kind == ExtentKind::Commit)
    {
        let parents = trees::commit_parents(&extent.bytes, 0)?;
        opened.parents.insert(extent.key.id, parents);
    }
    opened.batch.put(extents).await?;
    Ok(())
}

/// Makes a batch visible.
async fn submit(
    connection: &Connection,
    number: u64,
    domain: Domain,
    roots: Vec<RootMove>,
    pass: &mut Option<Pass>,
) -> Result<Told, Failure> {
    let updates: Vec<RootUpdate> = roots
        .into_iter()
        .map(RootMove::into_update)
        .collect::<Result<_, _>>()
        .map_err(nonsense)?;
    let host = &connection.server.host;
    if updates.len() > ROOTS_MAX || domain != host.trees().domain() {
        return Err(nonsense(format!(
            "{} root changes in domain {domain}; at most {ROOTS_MAX}, in domain {}",
            updates.len(),
            host.trees().domain()
        )));
    }
    let batches = &connection.batches;
    let opened = batches.take_open(number, updates.len())?;
    let moves_branch = updates.iter().any(|update| update.kind == RootKind::Branch);
    let Opened { batch, parents } = *opened;
    let checked = check_roots(connection, updates, parents, pass).await;
    let outcome = match checked.inspect_err(|_| batches.end(number))? {
        Ok((updates, named)) => make_visible(batch.in_domain(domain), updates, &named).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(ack) => {
            if moves_branch {
                // Quotas add up what goes through the owner's own handle.
                host.trees().forget_sums();
            }
            batches.give_back(number, State::Submitted(ack));
            Ok(Told::default())
        }
        Err(error) => {
            batches.end(number);
            Ok(Told {
                refused: vec![Refused::new(0, error)],
                ..Told::default()
            })
        }
    }
}

/// Checks root changes; answers them and what they name. Once histories have been cut that may take a walk through them, which is
/// nothing for a reactor.
async fn check_roots(
    connection: &Connection,
    updates: Vec<RootUpdate>,
    parents: Parents,
    pass: &mut Option<Pass>,
) -> Result<Result<(Vec<RootUpdate>, Vec<Key>), Error>, Failure> {
    let trees = connection.server.host.trees().clone();
    match trees::has_floors(trees.store()) {
        Ok(false) => return Ok(check_all(&trees, updates, &parents).await),
        Ok(true) => {}
        Err(error) => return Ok(Err(error)),
    }
    drop(pass.take());
    let (sender, receiver) = oneshot::oneshot();
    let check = move |_: &Place| {
        let checked = check_all(&trees, updates, &parents);
        // Who no longer waits needs no answer.
        let _ = sender.send(trees.store().block_on(checked));
    };
    let taken = connection
        .server
        .workers
        .run(connection.number, Lane::Looks, check);
    // The batch is spent, so the question cannot be asked again as it is.
    taken.map_err(|busy| Failure::new(Class::Failed, busy.message).with_hint("run the command again"))?;
    let lost = || Failure::new(Class::Failed, "the owner of the store lost this request");
    receiver.await.ok_or_else(lost)
}

async fn check_all(
    trees: &Trees,
    updates: Vec<RootUpdate>,
    parents: &Parents,
) -> Result<(Vec<RootUpdate>, Vec<Key>), Error> {
    let mut named = Vec::new();
    for update in &updates {
        let commit = match &update.change {
            RootChange::Set {
                target: Some(target), ..
            } if target.kind == ExtentKind::Commit => Some(target.id),
            _ => None,
        };
        let parents = match commit.map(|id| (id, parents.get(&id))) {
            Some((_, Some(known))) => known.clone(),
            Some((id, None)) => trees.read_commit(id).await?.parents,
            None => Vec::new(),
        };
        named.extend(trees.check_offered_root(update, trees.domain(), &parents).await?);
    }
    Ok((updates, named))
}

async fn make_visible(mut batch: Box<Batch>, updates: Vec<RootUpdate>, named: &[Key]) -> Result<Ack, Error> {
    let held = batch.hold(named);
    if let Some((key, _)) = named.iter().zip(held).find(|(_, held)| !held) {
        return Err(Error::not_found(format!("{} {}", key.kind, key.id)));
    }
    updates.into_iter().for_each(|update| batch.set_root(update));
    batch.submit().await
}
