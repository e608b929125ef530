//! `quota`: limits for the branches with a prefix.

use super::graph::{Graph, Marks};
use super::open::Engine;
use super::revision::name_text;
use crate::error::{Error, Result};
use crate::ops::{Exchange, QuotaRequest, QuotaRow, Quotas};
use crate::store::{Root, RootKind};

impl Engine {
    pub fn quota(&self, request: QuotaRequest, exchange: &dyn Exchange) -> Result<Quotas> {
        let mut limits: Vec<(String, u64)> = self
            .trees
            .quotas()?
            .into_iter()
            .map(|quota| (quota.prefix, quota.limit_bytes))
            .collect();
        match request {
            QuotaRequest::List => return self.quotas(),
            QuotaRequest::Set { prefix, limit_bytes } => {
                let prefix = name_text("branch", &prefix)?;
                let before = limits.len();
                limits.retain(|(other, _)| *other != prefix);
                match limit_bytes {
                    Some(limit_bytes) => limits.push((prefix, limit_bytes)),
                    None if limits.len() == before => {
                        return Err(Error::not_found(format!("quota for `{prefix}`")));
                    }
                    None => {}
                }
            }
            QuotaRequest::Measure => {}
        }
        let measure = |prefixes: &[&str]| self.measure(prefixes, exchange);
        let ack = self.store.block_on(self.trees.set_quotas(&limits, measure))?;
        self.store.block_on(ack.durable())?;
        self.quotas()
    }

    fn quotas(&self) -> Result<Quotas> {
        let row = |quota: crate::trees::Quota| QuotaRow {
            prefix: quota.prefix.into(),
            limit_bytes: quota.limit_bytes,
            used_bytes: quota.used_bytes,
            measured_ns: quota.measured_ns,
        };
        Ok(Quotas {
            quotas: self.trees.quotas()?.into_iter().map(row).collect(),
        })
    }

    /// Stored bytes that the branches with each prefix reach.
    fn measure(&self, prefixes: &[&str], exchange: &dyn Exchange) -> Result<Vec<u64>> {
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let mut roots = self.all_roots();
        roots.retain(|root| root.kind == RootKind::Branch);
        roots.retain(|root| {
            prefixes
                .iter()
                .any(|prefix| root.name.starts_with(prefix.as_bytes()))
        });
        let graph = Graph::of(self, &roots, exchange)?;
        graph.check()?;
        let mut marks = Marks::default();
        let measured = prefixes.iter().map(|prefix| {
            let ours = |root: &&Root| root.name.starts_with(prefix.as_bytes());
            let mut bytes = 0;
            marks.begin(&graph);
            graph.walk(roots.iter().filter(ours), &mut marks, |vertex| {
                bytes += graph.bytes(vertex);
                true
            })?;
            Ok(bytes)
        });
        measured.collect()
    }
}
