//! Branches that go by themselves: made by anybody, swept by anybody, changed by nobody.

use super::client::{Client, Stop};
use super::model::{Number, Violation};
use super::owned::domain_of;
use crate::error::Error;
use crate::format::Domain;

/// What the names begin with.
const NAME: &str = "x/";

/// One that was tried.
#[derive(Clone, Debug)]
pub(super) struct Temporary {
    pub domain: Domain,
    pub head: Number,
    pub expires_ns: u64,
    /// Others see it.
    pub visible: bool,
    /// It must survive, unless somebody sweeps.
    pub durable: bool,
    /// A sweep that may take it has begun.
    pub swept: bool,
    /// It was taken, for all to see.
    pub taken: bool,
    /// It must not come back.
    pub gone: bool,
}

/// The number in a name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// Makes one where some branch is.
pub(super) async fn create(client: &mut Client, from: u64, life_us: u64, durable: bool) -> Result<(), Stop> {
    let Some((_, id)) = client.some_branch(from)? else {
        return Ok(());
    };
    let head = client.number_of(&client.trees, id).await?;
    let expires_ns = client.stage.store.now_ns() + life_us * 1000;
    let number = client.stage.model.lock().temporary(Temporary {
        domain: domain_of(client.number),
        head,
        expires_ns,
        visible: false,
        durable: false,
        swept: false,
        taken: false,
        gone: false,
    });
    let name = format!("{NAME}{number}");
    let made = match client.trees.create_branch_until(&name, id, expires_ns).await {
        // The branch is gone meanwhile, and the commit with it.
        Err(Error::NotFound { .. }) => Ok(None),
        made => made.map(Some),
    };
    let seen = made.as_ref().is_ok_and(Option::is_some);
    client
        .stage
        .model
        .lock()
        .change_temporary(number, |known| known.visible = seen);
    let done = match made {
        Ok(Some(ack)) if durable => ack.durable().await,
        made => made.map(drop),
    };
    match done {
        Ok(()) => {
            let durable = seen && durable;
            client
                .stage
                .model
                .lock()
                .change_temporary(number, |known| known.durable |= durable);
            Ok(())
        }
        Err(error) => client.judge(&error),
    }
}

/// Sweeps, and compares what went with what had to.
pub(super) async fn expire(client: &mut Client, durable: bool) -> Result<(), Stop> {
    let now_ns = client.stage.store.now_ns();
    let domain = domain_of(client.number);
    let due = client.stage.model.lock().sweep(domain, now_ns);
    let (removed, acks) = match client.trees.expire().await {
        Ok(swept) => swept,
        Err(error) => return client.judge(&error),
    };
    let mut taken = Vec::new();
    for branch in &removed {
        let Some(number) = number_of(&branch.name).filter(|number| due.contains(number)) else {
            return client.astray(format!("the sweep took {}, which had not expired", branch.name));
        };
        client
            .stage
            .model
            .lock()
            .change_temporary(number, |known| known.taken = true);
        taken.push(number);
    }
    let left = client.trees.branches().unwrap_or_default();
    for number in due {
        let visible = left.iter().any(|branch| number_of(&branch.name) == Some(number));
        let known = client.stage.model.lock().temporaries[&number].clone();
        // One that became visible while the sweep was under way stays for the next.
        if visible && known.taken {
            return Err(Stop::Wrong(Violation(format!(
                "{NAME}{number} is there after it was swept"
            ))));
        }
    }
    if durable {
        for ack in acks {
            if let Err(error) = ack.durable().await {
                return client.judge(&error);
            }
        }
        for number in taken {
            client
                .stage
                .model
                .lock()
                .change_temporary(number, |known| known.gone = true);
        }
    }
    Ok(())
}
