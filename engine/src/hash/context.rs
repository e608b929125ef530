//! What a hash is of: one BLAKE3 mode per use, so that no bytes of one use can take the id of another.
//!
//! User content (whole or chunk) is plain BLAKE3: the id is what `b3sum` prints. Everything the engine makes up
//! itself is hashed under a derive-key context of its own. The strings are part of the format: never change one.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, hash_derive_key_context};

use super::kernel::{self, Mode, flag};
use crate::format::Kind;

/// The use an id is for. See the module's file for why they are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// User content, and manifests under their content's id: plain BLAKE3.
    Plain,
    /// State-tree nodes.
    Node,
    /// Commits.
    Commit,
    /// Volume map nodes.
    VolumeNode,
    /// Lower-level parts of a manifest too large for one extent.
    ManifestPart,
}

impl Context {
    /// The context that names extents of `kind`.
    ///
    /// Panics for [`Kind::Root`]: root records are in no index and have no id.
    pub fn of(kind: Kind) -> Context {
        match kind {
            Kind::Data | Kind::Manifest => Context::Plain,
            Kind::Node => Context::Node,
            Kind::Commit => Context::Commit,
            Kind::VolumeNode => Context::VolumeNode,
            Kind::Root => panic!("root records have no content id"),
        }
    }

    /// The derive-key context string; none for plain BLAKE3.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Context::Plain => None,
            Context::Node => Some("helios 2026 tree node"),
            Context::Commit => Some("helios 2026 commit"),
            Context::VolumeNode => Some("helios 2026 volume node"),
            Context::ManifestPart => Some("helios 2026 manifest part"),
        }
    }

    /// The key the context string hashes to, computed once per process; none for plain BLAKE3.
    pub(super) fn key(self) -> Option<&'static ContextKey> {
        static NODE: LazyLock<ContextKey> = LazyLock::new(|| key_of(Context::Node));
        static COMMIT: LazyLock<ContextKey> = LazyLock::new(|| key_of(Context::Commit));
        static VOLUME_NODE: LazyLock<ContextKey> = LazyLock::new(|| key_of(Context::VolumeNode));
        static MANIFEST_PART: LazyLock<ContextKey> = LazyLock::new(|| key_of(Context::ManifestPart));
        match self {
            Context::Plain => None,
            Context::Node => Some(&NODE),
            Context::Commit => Some(&COMMIT),
            Context::VolumeNode => Some(&VOLUME_NODE),
            Context::ManifestPart => Some(&MANIFEST_PART),
        }
    }

    /// How the kernel hashes under this context.
    pub(super) fn mode(self) -> Mode {
        self.key().map_or(
            Mode {
                key: kernel::IV,
                flags: 0,
            },
            derived,
        )
    }
}

/// How the kernel hashes under a derived key.
pub(super) fn derived(key: &ContextKey) -> Mode {
    let (words, _) = key.as_chunks::<4>();
    Mode {
        key: std::array::from_fn(|at| u32::from_le_bytes(words[at])),
        flags: flag::DERIVE_KEY_MATERIAL,
    }
}

fn key_of(context: Context) -> ContextKey {
    hash_derive_key_context(context.text().expect("only called for contexts with a string"))
}
