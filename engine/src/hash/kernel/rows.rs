//! The steps of few jobs, as a macro for the same reason as in [`lanes`](super::lanes): one register holds a row of the
//! state (four words, section 2.2 of the BLAKE3 paper) of several inputs.
//!
//! A row's four quarter-rounds are one chain of dependent instructions, so a compression takes its latency, whether
//! there is one input in the register or as many as fit; two registers are worked on side by side because their chains
//! fill each other's gaps. Lanes of their own words (`lanes`) do more in all, and take longer for the first.
//!
//! Message words lie in the order of their use: `x[0]` has those of the first halves of the columns (0, 2, 4, 6),
//! `x[1]` of the second (1, 3, 5, 7); `x[2]` and `x[3]` those of the diagonals (14, 8, 10, 12 and 15, 9, 11, 13), which
//! start at the last one since row b stays where it is and the others turn against it.

/// Order of a row's words, as the instructions that move them take it: word `a` first.
pub(super) const fn order(a: i32, b: i32, c: i32, d: i32) -> i32 {
    a | b << 2 | c << 4 | d << 6
}

/// `compress_rows` of one instruction set: the surrounding file has `INPUTS` (of one register), the type `Words` and
/// `load_rows`, `parts`, `add`, `xor`, `rotate16/12/8/7`, `turn`, `pair`, `even_over`, `ends_over`, `where_last`,
/// `until_last` and `store_rows`.
macro_rules! rows_kernel {
    ($(#[$feature:meta])*) => {
        /// Compresses at most [`INPUTS`] jobs for each of `REGISTERS`.
        #[inline(never)]
        $(#[$feature])*
        fn compress_rows<const REGISTERS: usize>(mode: &super::Mode, jobs: &[super::Job<'_>], out: &mut [[u8; 32]]) {
            use super::rows::order;

            assert!(!jobs.is_empty() && jobs.len() <= REGISTERS * INPUTS, "as many jobs as the registers hold");
            // Inputs without a job repeat the first one.
            let job = |register: usize, input: usize| jobs.get(register * INPUTS + input).unwrap_or(&jobs[0]);
            let mut pads = [[[0u8; super::BLOCK_BYTES]; INPUTS]; REGISTERS];
            let mut pads = pads.as_flattened_mut().iter_mut();
            let lanes: [[super::Lane<'_>; INPUTS]; REGISTERS] = std::array::from_fn(|register| {
                std::array::from_fn(|input| {
                    super::Lane::new(job(register, input).bytes, pads.next().expect("one pad per input"))
                })
            });
            let longest = lanes.as_flattened().iter().map(|lane| lane.full.len()).max().unwrap_or(0);

            // Row d: the counter, the length of the block and its flags.
            let row_d = |register: usize, input: usize, bytes: u32, flags: u32| {
                let counter = job(register, input).counter;
                [counter as u32, (counter >> 32) as u32, bytes, flags | mode.flags]
            };
            let full: [Words; REGISTERS] = std::array::from_fn(|register| {
                load_rows(&std::array::from_fn(|input| row_d(register, input, super::BLOCK_BYTES as u32, 0)))
            });
            let last: [Words; REGISTERS] = std::array::from_fn(|register| {
                load_rows(&std::array::from_fn(|input| {
                    row_d(register, input, lanes[register][input].last_bytes, job(register, input).last)
                }))
            });
            let mut first: [Words; REGISTERS] = std::array::from_fn(|register| {
                load_rows(&std::array::from_fn(|input| [0, 0, 0, job(register, input).first]))
            });
            let ends: [Words; REGISTERS] = std::array::from_fn(|register| {
                load_rows(&std::array::from_fn(|input| [lanes[register][input].full.len() as u32; 4]))
            });

            let [k0, k1, k2, k3, k4, k5, k6, k7] = mode.key;
            let [i0, i1, i2, i3, ..] = super::IV;
            let none = load_rows(&[[0; 4]; INPUTS]);
            let iv = load_rows(&[[i0, i1, i2, i3]; INPUTS]);
            let mut low = [load_rows(&[[k0, k1, k2, k3]; INPUTS]); REGISTERS];
            let mut high = [load_rows(&[[k4, k5, k6, k7]; INPUTS]); REGISTERS];
            for at in 0..=longest {
                let now = load_rows(&[[at as u32; 4]; INPUTS]);
                let mut x = [[none; 4]; REGISTERS];
                let mut v = [[none; 4]; REGISTERS];
                for r in 0..REGISTERS {
                    let blocks = std::array::from_fn(|input| lanes[r][input].block(at));
                    let m = |quarter: usize| parts(&blocks, quarter);
                    let (m0, m1, m2, m3) = (m(0), m(1), m(2), m(3));
                    x[r] = [
                        pair::<{ order(0, 2, 0, 2) }>(m0, m1),
                        pair::<{ order(1, 3, 1, 3) }>(m0, m1),
                        turn::<{ order(3, 0, 1, 2) }>(pair::<{ order(0, 2, 0, 2) }>(m2, m3)),
                        turn::<{ order(3, 0, 1, 2) }>(pair::<{ order(1, 3, 1, 3) }>(m2, m3)),
                    ];
                    v[r] = [low[r], high[r], iv, xor(where_last(now, ends[r], last[r], full[r]), first[r])];
                    first[r] = none;
                }
                // A loop in the code too: unrolled it is as fast, and seven times as much to come back to a cache.
                for _ in 0..std::hint::black_box(7) {
                    rows_kernel!(@half v, x, 0, rotate16, rotate12);
                    rows_kernel!(@half v, x, 1, rotate8, rotate7);
                    for [a, _, c, d] in &mut v {
                        *a = turn::<{ order(3, 0, 1, 2) }>(*a);
                        *c = turn::<{ order(1, 2, 3, 0) }>(*c);
                        *d = turn::<{ order(2, 3, 0, 1) }>(*d);
                    }
                    rows_kernel!(@half v, x, 2, rotate16, rotate12);
                    rows_kernel!(@half v, x, 3, rotate8, rotate7);
                    for [a, _, c, d] in &mut v {
                        *a = turn::<{ order(1, 2, 3, 0) }>(*a);
                        *c = turn::<{ order(3, 0, 1, 2) }>(*c);
                        *d = turn::<{ order(2, 3, 0, 1) }>(*d);
                    }
                    // The words of the next round (table 2 of the paper), in the order said above; nobody uses the last.
                    for words in &mut x {
                        let [p, q, r, s] = *words;
                        *words = [
                            turn::<{ order(0, 2, 3, 1) }>(pair::<{ order(1, 2, 1, 3) }>(p, q)),
                            even_over(pair::<{ order(2, 2, 3, 3) }>(r, s), turn::<{ order(3, 0, 0, 0) }>(p)),
                            ends_over(pair::<{ order(0, 0, 3, 3) }>(q, r), turn::<{ order(0, 0, 0, 1) }>(s)),
                            ends_over(pair::<{ order(2, 2, 2, 2) }>(s, q), turn::<{ order(1, 0, 0, 0) }>(r)),
                        ];
                    }
                }
                for r in 0..REGISTERS {
                    let [a, b, c, d] = v[r];
                    low[r] = until_last(now, ends[r], xor(a, c), low[r]);
                    high[r] = until_last(now, ends[r], xor(b, d), high[r]);
                }
            }
            for (jobs, (low, high)) in jobs.chunks(INPUTS).zip(low.into_iter().zip(high)) {
                let (low, high) = (store_rows(low), store_rows(high));
                for (input, job) in jobs.iter().enumerate() {
                    let (first, second) = out[job.out as usize].split_at_mut(16);
                    first.copy_from_slice(&low[input]);
                    second.copy_from_slice(&high[input]);
                }
            }
        }
    };
    // Half of four quarter-rounds of every input, with one row of message words.
    (@half $v:ident, $x:ident, $words:literal, $first:ident, $second:ident) => {
        for ([a, b, _, _], x) in $v.iter_mut().zip(&$x) {
            *a = add(add(*a, x[$words]), *b);
        }
        for [a, _, c, d] in &mut $v {
            *d = $first(xor(*d, *a));
            *c = add(*c, *d);
        }
        for [_, b, c, _] in &mut $v {
            *b = $second(xor(*b, *c));
        }
    };
}
