//! The places of a tree's loaded directories, which forks share until one of them changes something.
//!
//! Places lie in blocks, and the blocks in a list. A fork takes one reference, to the list, whatever the tree. Whoever changes
//! a directory first takes over the list and the directory's block: for the 560 directories of 28,000 files 35 references
//! with a fork's first change, and 16 with the first in each block.
//! Invariants: a place below `len` has a directory or is listed in `unused`; what is behind has none.
//! Rejected: places without blocks (the first change of a fork would write 560 reference counts, each in a line of its own:
//! 6 us); a list that is not shared (a fork wrote the counts of all blocks, 0.5 us of 3.5 here, and more with the tree).

use std::sync::Arc;

use super::edit::{Directory, DirectoryIndex};

/// Places of a block.
const BLOCK: usize = 16;
/// Places without a directory that are worth giving back.
const SPARE: usize = 1024;

type Block = [Option<Arc<Directory>>; BLOCK];

/// See the module.
#[derive(Clone)]
pub(super) struct Places {
    blocks: Arc<Vec<Arc<Block>>>,
    len: usize,
    /// Where nothing is.
    unused: Vec<DirectoryIndex>,
    /// A bit for each place: used since directories were let go last. Apart from the blocks, because readers set them.
    used: Vec<u64>,
}

impl Places {
    /// With a directory in the first place.
    pub fn of(top: Directory) -> Places {
        let mut places = Places {
            blocks: Arc::default(),
            len: 0,
            unused: Vec::new(),
            used: Vec::new(),
        };
        places.keep(top);
        places
    }

    /// Places there are, with and without a directory.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The directory in a place.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Arc<Directory>> {
        self.blocks[index / BLOCK][index % BLOCK].as_ref()
    }

    /// The same for changing it: what forks share is taken over.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Directory> {
        self.place_mut(index).as_mut().map(Arc::make_mut)
    }

    /// All directories.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Directory>> {
        self.blocks.iter().flat_map(|block| block.iter().flatten())
    }

    /// Gives a directory a place, used from the start.
    pub fn keep(&mut self, directory: Directory) -> DirectoryIndex {
        let index = match self.unused.pop() {
            Some(index) => index as usize,
            None => {
                if self.len == self.blocks.len() * BLOCK {
                    Arc::make_mut(&mut self.blocks).push(Arc::default());
                }
                self.len += 1;
                self.used.resize(self.len.div_ceil(64), 0);
                self.len - 1
            }
        };
        *self.place_mut(index) = Some(Arc::new(directory));
        self.mark_used(index);
        DirectoryIndex::try_from(index).expect("a tree has far fewer directories than 2^32")
    }

    /// Takes the directory out of a place that has one.
    pub fn take(&mut self, index: DirectoryIndex) -> Arc<Directory> {
        let gone = self.place_mut(index as usize).take();
        self.unused.push(index);
        gone.expect("nothing names the place of a directory that is gone")
    }

    /// The directory in this place was used.
    #[inline]
    pub fn mark_used(&mut self, index: usize) {
        self.used[index / 64] |= 1 << (index % 64);
    }

    /// Whether it was since this was asked last.
    pub fn take_used(&mut self, index: usize) -> bool {
        let bit = 1 << (index % 64);
        let was = self.used[index / 64] & bit != 0;
        self.used[index / 64] &= !bit;
        was
    }

    /// Gives room in the lists back if there is much of it.
    pub fn give_back(&mut self) {
        while self.len > 0 && self.get(self.len - 1).is_none() {
            self.len -= 1;
        }
        let len = self.len;
        self.unused.retain(|index| (*index as usize) < len);
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.truncate(len.div_ceil(BLOCK));
        self.used.truncate(len.div_ceil(64));
        if blocks.capacity() > blocks.len() * 2 + SPARE / BLOCK {
            blocks.shrink_to_fit();
            self.used.shrink_to_fit();
        }
        if self.unused.capacity() > self.unused.len() * 2 + SPARE {
            self.unused.shrink_to_fit();
        }
    }

    /// Bytes of the lists, the directories not counted. Forks that share blocks count them in full.
    pub fn memory_bytes(&self) -> usize {
        const BLOCK_BYTES: usize = size_of::<Block>() + 2 * size_of::<usize>();
        self.blocks.len() * BLOCK_BYTES
            + self.blocks.capacity() * size_of::<Arc<Block>>()
            + self.unused.capacity() * size_of::<DirectoryIndex>()
            + self.used.capacity() * size_of::<u64>()
    }

    #[inline]
    fn place_mut(&mut self, index: usize) -> &mut Option<Arc<Directory>> {
        &mut Arc::make_mut(&mut Arc::make_mut(&mut self.blocks)[index / BLOCK])[index % BLOCK]
    }

    /// Blocks that two lists have in common.
    #[cfg(test)]
    pub fn blocks_shared(&self, other: &Places) -> usize {
        let pairs = self.blocks.iter().zip(&*other.blocks);
        pairs.filter(|(one, other)| Arc::ptr_eq(one, other)).count()
    }

    /// Counts again.
    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.iter().count() + self.unused.len(), self.len);
        let mut unused = self.unused.clone();
        unused.sort_unstable();
        unused.dedup();
        assert_eq!(unused.len(), self.unused.len(), "a place is listed twice");
        let is_vacant = |index: &u32| (*index as usize) < self.len && self.get(*index as usize).is_none();
        assert!(unused.iter().all(is_vacant));
    }
}
