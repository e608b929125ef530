//! `serve`: owns the store and works for every client.

use helios_engine::ops::{Class, Failure, Host};

use crate::cli::args::ServeArgs;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::session::{Session, Stop};
use crate::observe;
use crate::observe::http::{Address, Listener};
use crate::observe::inherited::Inherited;
use crate::observe::notify::Notifier;
use crate::serve::{self, Serving};

/// Runs `helios serve`.
pub fn serve(session: &mut Session, args: ServeArgs) -> Result<Exit, Stop> {
    let inherited = Inherited::take()?;
    let notifier = Notifier::from_env();
    // Before the store is opened, which may take long: a place that is taken should be said at once.
    let metrics = listener(inherited.metrics, args.metrics.as_ref())?;
    if inherited.control.is_some() && args.control.is_some() {
        return Err(twice("control socket", "--control", "HELIOS_CONTROL").into());
    }
    notifier.say("STATUS=opening the store");
    let host = Host::open(&session.place_to_own()?)?;
    let store = host.address();
    let options = serve::Options {
        control: args.control,
        inherited: inherited.control,
        allow_uids: args.allow_uid,
        memory: args.memory,
        observer: observe::observer(),
    };
    let serving = Serving::start(host, options)?;
    interrupt::wait_for_clean_end(serve::ENDING_PATIENCE);
    let endpoint = metrics
        .map(|listener| observe::serve(listener, serving.observed()))
        .transpose()?;
    let watchdog = notifier.watch(serving.observed())?;
    let control = serving.control().display().to_string();
    let metrics = endpoint.as_ref().map(|endpoint| endpoint.address().to_string());
    if session.output.json {
        session
            .output
            .json(&serde_json::json!({ "store": store, "control": control, "metrics": metrics }))?;
    } else {
        session
            .output
            .line(format!("serving {store} at unix:{control}"))?;
        if let Some(metrics) = metrics {
            session.output.line(format!("metrics at {metrics}"))?;
        }
    }
    session.output.flush()?;
    notifier.ready(&format!("serving {store} at unix:{control}"));
    serving.wait_for(&session.cancel());
    notifier.stopping(serve::ENDING_PATIENCE);
    let ended = serving.end();
    // Until here both say how the end goes on.
    drop((watchdog, endpoint));
    ended?;
    Ok(Exit::Success)
}

fn listener(inherited: Option<Listener>, address: Option<&Address>) -> Result<Option<Listener>, Failure> {
    match (inherited, address) {
        (Some(_), Some(_)) => Err(twice("socket of metrics", "--metrics", "HELIOS_METRICS")),
        (Some(listener), None) => Ok(Some(listener)),
        (None, address) => address.map(Listener::bind).transpose(),
    }
}

fn twice(what: &str, option: &str, variable: &str) -> Failure {
    Failure::new(
        Class::Invalid,
        format!("the service manager has passed the {what}, and {option} names another"),
    )
    .with_hint(format!(
        "leave {option} and {variable} away, or disable the socket unit"
    ))
}
