//! Contents of more than one extent, for working trees: the content store cuts them into chunks.

use bytes::Bytes;

use crate::format::ContentId;
use crate::objects::{Durability, Objects, PutOptions};
use crate::store::Lease;
use crate::trees::{LargeContents, LargeFuture};

/// See the module.
pub(super) struct Large(pub Objects);

impl LargeContents for Large {
    fn put(&self, bytes: Bytes) -> LargeFuture<'_, (ContentId, Lease)> {
        Box::pin(async move {
            // The commit that refers to it waits for durability, if anybody does.
            let options = PutOptions {
                durability: Durability::Visible,
                ..PutOptions::default()
            };
            let put = self.0.put_with(bytes, options).await?;
            Ok((put.id, put.lease().clone()))
        })
    }

    fn get(&self, id: ContentId, _: u64) -> LargeFuture<'_, Bytes> {
        Box::pin(self.0.get(id))
    }
}
