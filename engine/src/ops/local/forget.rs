//! `forget`: dropping old commits from the histories of branches, and branches that have expired.

use super::open::Engine;
use super::references::shown;
use super::revision::name_text;
use crate::access::Ack;
use crate::error::{Error, Result};
use crate::ops::{Exchange, ExpireRequest, Expired, ForgetRequest, Forgot, ForgotBranch};
use crate::trees::{Forgetting, Keep};

impl Engine {
    pub fn forget(&self, request: ForgetRequest, exchange: &mut dyn Exchange) -> Result<Forgot> {
        let mut rules = Forgetting::new(Keep {
            last: request.keep_last,
            within_ns: request.keep_within_ns,
            tags: request.keep_tags,
        })?;
        let names: Vec<String> = if request.branches.is_empty() {
            self.trees
                .branches()?
                .into_iter()
                .map(|branch| branch.name)
                .collect()
        } else {
            let names = request.branches.iter();
            let names = names.map(|name| name_text("branch", name));
            names.collect::<Result<_>>()?
        };
        // All are looked up before one is changed.
        for name in &names {
            self.trees.branch(name)?;
        }
        let mut forgot = Forgot {
            dry_run: request.dry_run,
            branches: Vec::with_capacity(names.len()),
        };
        let mut acks: Vec<Ack> = Vec::new();
        for name in names {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let forgetting = self.trees.forget(&name, &mut rules, request.dry_run);
            let (branch, mut made) = self.store.block_on(forgetting)?;
            acks.append(&mut made);
            forgot.branches.push(ForgotBranch {
                name: branch.branch.into(),
                kept: branch.kept,
                forgotten: branch.forgotten,
                oldest: branch.oldest,
                oldest_ns: branch.oldest_ns,
            });
        }
        for ack in acks {
            self.store.block_on(ack.durable())?;
        }
        Ok(forgot)
    }

    pub fn expire(&self, request: ExpireRequest) -> Result<Expired> {
        let removed = if request.dry_run {
            self.trees.expired(self.store.now_ns())?
        } else {
            let (removed, acks) = self.store.block_on(self.trees.expire())?;
            for ack in acks {
                self.store.block_on(ack.durable())?;
            }
            removed
        };
        Ok(Expired {
            dry_run: request.dry_run,
            removed: removed.into_iter().map(shown).collect(),
        })
    }
}
