//! `serve`: owns the store and works for every client.

use helios_engine::ops::Host;

use crate::cli::args::ServeArgs;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::session::{Session, Stop};
use crate::serve::{self, Serving};

/// Runs `helios serve`.
pub fn serve(session: &mut Session, args: ServeArgs) -> Result<Exit, Stop> {
    let host = Host::open(&session.place_to_own()?)?;
    let store = host.address();
    let options = serve::Options {
        control: args.control,
        allow_uids: args.allow_uid,
    };
    let serving = Serving::start(host, &options)?;
    interrupt::wait_for_clean_end(serve::ENDING_PATIENCE);
    let control = serving.control().display().to_string();
    if session.output.json {
        session
            .output
            .json(&serde_json::json!({ "store": store, "control": control }))?;
    } else {
        session
            .output
            .line(format!("serving {store} at unix:{control}"))?;
    }
    session.output.flush()?;
    serving.run(&session.cancel())?;
    Ok(Exit::Success)
}
