//! Numbered places for things in progress. A key names one occupation: a place used again has a new key.

/// Key of an occupied place; never zero-extended into another occupation of the same place for 2^32 reuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SlabKey {
    index: u32,
    generation: u32,
}

impl SlabKey {
    /// As one number, for a device's token.
    pub(super) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key behind a token.
    pub(super) fn from_token(token: u64) -> SlabKey {
        let index = u32::try_from(token & u64::from(u32::MAX)).expect("masked to 32 bits");
        let generation = u32::try_from(token >> 32).expect("the upper 32 bits");
        SlabKey { index, generation }
    }
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// The places; memory is as large as the most ever occupied at once.
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Occupied places.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Occupies a place with what `make` builds from its key.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(SlabKey) -> T) -> SlabKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                value: None,
            });
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 things in progress")
        });
        let place = &mut self.places[index as usize];
        let key = SlabKey {
            index,
            generation: place.generation,
        };
        place.value = Some(make(key));
        key
    }

    /// The value under `key`, unless it was removed.
    pub(super) fn get_mut(&mut self, key: SlabKey) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        place.value.as_mut()
    }

    /// Frees the place and gives its value back.
    pub(super) fn remove(&mut self, key: SlabKey) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// Keys of all occupied places.
    pub(super) fn keys(&self) -> Vec<SlabKey> {
        let occupied = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.value.is_some());
        occupied
            .map(|(index, place)| SlabKey {
                index: u32::try_from(index).expect("fewer than 2^32 things in progress"),
                generation: place.generation,
            })
            .collect()
    }
}
