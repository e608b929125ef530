//! Devices and the engine on them: how close `get` comes to what the device can do, what the engine adds to the driver,
//! and what polling costs.
//!
//! ```sh
//! cargo bench --bench device [-- SECTION...]        # a file through io_uring; fio is the ceiling
//! scripts/with-nvmf-target --blocks 4096 --size 768 --spare 256 bash -c '
//!     export HELIOS_BENCH_DEVICE=nvme+tcp://$NVMF_ADDRESS:$NVMF_PORT/$NVMF_NQN/1
//!     HELIOS_BENCH_ERASE=$HELIOS_BENCH_DEVICE cargo bench --features spdk --bench device'
//! ```
//!
//! With `HELIOS_BENCH_DEVICE`, given up by the same address in `HELIOS_BENCH_ERASE`, an NVMe device through SPDK is
//! measured too, beside SPDK's own load generator (in `SPDK_PREFIX`, or what `scripts/install-spdk` installed). Sections:
//! `gets`, `cost`, `power`. The reactor and the ceilings run on the first core the process may use.

mod ceiling;
mod cost;
mod gets;
mod load;
mod power;
mod subject;

#[path = "../common/fio.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod fio;
#[path = "../common/report.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod report;
#[path = "../common/sandbox.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod sandbox;

use sandbox::Sandbox;
use subject::Subject;

type Section = (&'static str, fn(&Subject));

const SECTIONS: [Section; 3] = [("gets", gets::run), ("cost", cost::run), ("power", power::run)];

fn main() {
    report::machine();
    let sandbox = Sandbox::new();
    let subjects: Vec<Subject> = [Some(Subject::file(&sandbox)), Subject::device()]
        .into_iter()
        .flatten()
        .collect();
    for (name, run) in SECTIONS {
        if report::is_wanted(name) {
            for subject in &subjects {
                run(subject);
            }
        }
    }
}
