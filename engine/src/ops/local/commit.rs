//! x
use super::open::Engine;
use crate::error::{Error, Result};
use crate::ops::*;
use crate::trees::{Entry, TreePath};
impl Engine {
    pub fn followed(&self, _: &ByteString) -> Result<String> {
        Ok("main".into())
    }
    pub fn commit(&self, _: CommitRequest, _: &mut dyn Exchange) -> Result<Committed> {
        Err(Error::Closed)
    }
    pub fn status(&self, _: &StatusRequest, _: &mut dyn Exchange) -> Result<Status> {
        Err(Error::Closed)
    }
    pub fn restore(&self, _: RestoreRequest, _: &mut dyn Exchange) -> Result<Restored> {
        Err(Error::Closed)
    }
    pub fn materialize(&self, _: MaterializeRequest, _: &mut dyn Exchange) -> Result<Materialized> {
        Err(Error::Closed)
    }
    pub fn compare_directory(
        &self,
        _: &Entry,
        _: &ByteString,
        _: &[TreePath],
        _: &mut dyn Exchange,
    ) -> Result<Compared> {
        Err(Error::Closed)
    }
}
