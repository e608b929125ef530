//! The steps every kernel takes, as macros: generic functions cannot carry `#[target_feature]` to trait methods,
//! and code the compiler does not inline under that attribute loses its registers.

/// The seven rounds on state `$v` with message `$m` (section 2.2 of the paper), for instruction sets with registers
/// to spare; textually, because the compiler keeps the state of a function per quarter-round in memory.
macro_rules! rounds {
    ($v:ident, $m:ident) => {
        rounds!(@round $v, $m, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        rounds!(@round $v, $m, 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);
        rounds!(@round $v, $m, 3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);
        rounds!(@round $v, $m, 10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);
        rounds!(@round $v, $m, 12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);
        rounds!(@round $v, $m, 9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);
        rounds!(@round $v, $m, 11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);
    };
    (@round $v:ident, $m:ident, $a:literal, $b:literal, $c:literal, $d:literal, $e:literal, $f:literal,
     $g:literal, $h:literal, $i:literal, $j:literal, $k:literal, $l:literal, $n:literal, $o:literal,
     $p:literal, $q:literal) => {
        rounds!(@half $v, $m, rotate16, rotate12, $a, $c, $e, $g, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        rounds!(@half $v, $m, rotate8, rotate7, $b, $d, $f, $h, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        rounds!(@half $v, $m, rotate16, rotate12, $i, $k, $n, $p, 5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14);
        rounds!(@half $v, $m, rotate8, rotate7, $j, $l, $o, $q, 5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14);
    };
    // Half of four independent quarter-rounds, interleaved to keep all vector units busy.
    (@half $v:ident, $m:ident, $first:ident, $second:ident, $x0:literal, $x1:literal, $x2:literal, $x3:literal,
     $b0:literal, $b1:literal, $b2:literal, $b3:literal, $c0:literal, $c1:literal, $c2:literal, $c3:literal,
     $d0:literal, $d1:literal, $d2:literal, $d3:literal) => {
        $v[0] = add(add($v[0], $m[$x0]), $v[$b0]);
        $v[1] = add(add($v[1], $m[$x1]), $v[$b1]);
        $v[2] = add(add($v[2], $m[$x2]), $v[$b2]);
        $v[3] = add(add($v[3], $m[$x3]), $v[$b3]);
        $v[$d0] = $first(xor($v[$d0], $v[0]));
        $v[$d1] = $first(xor($v[$d1], $v[1]));
        $v[$d2] = $first(xor($v[$d2], $v[2]));
        $v[$d3] = $first(xor($v[$d3], $v[3]));
        $v[$c0] = add($v[$c0], $v[$d0]);
        $v[$c1] = add($v[$c1], $v[$d1]);
        $v[$c2] = add($v[$c2], $v[$d2]);
        $v[$c3] = add($v[$c3], $v[$d3]);
        $v[$b0] = $second(xor($v[$b0], $v[$c0]));
        $v[$b1] = $second(xor($v[$b1], $v[$c1]));
        $v[$b2] = $second(xor($v[$b2], $v[$c2]));
        $v[$b3] = $second(xor($v[$b3], $v[$c3]));
    };
}

/// `compress_lanes` of one instruction set: the surrounding file has `LANES`, the type `Words` (one word of every lane)
/// and `splat`, `words`, `xor`, `rounds`, `select` and `prefetch`; besides `INPUTS` (128 bits each in a register), `parts`,
/// `transpose` and `store_rows`.
macro_rules! lanes_kernel {
    ($(#[$feature:meta])*) => {
        /// Compresses at most [`LANES`] jobs.
        #[inline(never)]
        $(#[$feature])*
        fn compress_lanes(mode: &super::Mode, jobs: &[super::Job<'_>], out: &mut [[u8; 32]]) {
            assert!(!jobs.is_empty() && jobs.len() <= LANES, "as many jobs as there are lanes");
            // Lanes without a job repeat the first one, the longest: they end no earlier than the others.
            let job = |lane: usize| jobs.get(lane).unwrap_or(&jobs[0]);
            let mut pads = [[0u8; super::BLOCK_BYTES]; LANES];
            let mut pads = pads.iter_mut();
            let lanes: [super::Lane<'_>; LANES] = std::array::from_fn(|lane| {
                super::Lane::new(job(lane).bytes, pads.next().expect("one pad per lane"))
            });
            let low = words(&std::array::from_fn(|lane| job(lane).counter as u32));
            let high = words(&std::array::from_fn(|lane| (job(lane).counter >> 32) as u32));
            let shortest = lanes.iter().map(|lane| lane.full.len()).min().unwrap_or(0);
            let longest = lanes.iter().map(|lane| lane.full.len()).max().unwrap_or(0);

            let mut h: [Words; 8] = std::array::from_fn(|at| splat(mode.key[at]));
            let mut flags = words(&std::array::from_fn(|lane| job(lane).first | mode.flags));
            // Blocks that are whole and not the last one in every lane.
            for at in 0..shortest {
                // The processor does not follow so many places by itself: from memory sixteen lanes make 3.5 GB/s without this
                // and 4.1 with it. Past a lane's end lies what another lane or the next group needs, or nothing of account.
                for lane in &lanes {
                    prefetch(lane.full.as_ptr().wrapping_add(at + 4));
                }
                let m = message(&std::array::from_fn(|lane| &lanes[lane].full[at]));
                let mut v = [
                    h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
                    splat(super::IV[0]), splat(super::IV[1]), splat(super::IV[2]), splat(super::IV[3]),
                    low, high, splat(super::BLOCK_BYTES as u32), flags,
                ];
                rounds(&mut v, &m);
                h = std::array::from_fn(|at| xor(v[at], v[at + 8]));
                flags = splat(mode.flags);
            }
            // From here on each lane ends at its own block.
            for at in shortest..=longest {
                let m = message(&std::array::from_fn(|lane| lanes[lane].block(at)));
                let lengths = words(&std::array::from_fn(|lane| {
                    if at == lanes[lane].full.len() { lanes[lane].last_bytes } else { super::BLOCK_BYTES as u32 }
                }));
                let flags = words(&std::array::from_fn(|lane| {
                    let first = if at == 0 { job(lane).first } else { 0 };
                    let last = if at == lanes[lane].full.len() { job(lane).last } else { 0 };
                    mode.flags | first | last
                }));
                let running = words(&std::array::from_fn(|lane| {
                    if at <= lanes[lane].full.len() { u32::MAX } else { 0 }
                }));
                let mut v = [
                    h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
                    splat(super::IV[0]), splat(super::IV[1]), splat(super::IV[2]), splat(super::IV[3]),
                    low, high, lengths, flags,
                ];
                rounds(&mut v, &m);
                h = std::array::from_fn(|at| select(running, xor(v[at], v[at + 8]), h[at]));
            }
            for (value, job) in finish(h).iter().zip(jobs) {
                out[job.out as usize] = *value;
            }
        }

        /// Sixteen message words of one block of every lane.
        #[inline]
        $(#[$feature])*
        fn message(blocks: &[&[u8; super::BLOCK_BYTES]; LANES]) -> [Words; 16] {
            let row = |at: usize, lane: usize| parts(&std::array::from_fn(|input| blocks[lane + 4 * input]), at);
            let words = |at: usize| transpose([row(at, 0), row(at, 1), row(at, 2), row(at, 3)]);
            let [m0, m1, m2, m3] = words(0);
            let [m4, m5, m6, m7] = words(1);
            let [m8, m9, m10, m11] = words(2);
            let [m12, m13, m14, m15] = words(3);
            [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15]
        }

        /// The chaining value of every lane.
        #[inline]
        $(#[$feature])*
        fn finish(h: [Words; 8]) -> [[u8; 32]; LANES] {
            let [h0, h1, h2, h3, h4, h5, h6, h7] = h;
            let low = transpose([h0, h1, h2, h3]).map(|words| store_rows(words));
            let high = transpose([h4, h5, h6, h7]).map(|words| store_rows(words));
            std::array::from_fn(|lane| {
                let mut value = [0; 32];
                value[..16].copy_from_slice(&low[lane % 4][lane / 4]);
                value[16..].copy_from_slice(&high[lane % 4][lane / 4]);
                value
            })
        }
    };
}
