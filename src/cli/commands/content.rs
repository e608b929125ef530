//! `put`, `get`, `cat`, `exists`, `pin`, `unpin`: contents.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use helios_engine::ops::{
    CatRequest, Class, Content, ContentRequest, Failure, GetRequest, PutRequest, Request,
};

use super::answer;
use super::sink::{self, Sink};
use crate::cli::args::{CatArgs, ContentArgs, GetArgs, PutArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop};

pub fn put(session: &mut Session, args: &PutArgs) -> Result<Exit, Stop> {
    let request = Request::Put(PutRequest {
        pin: args.pin,
        durability: args.durability.into(),
    });
    if args.files.is_empty() {
        put_one(session, request, None, &mut io::stdin().lock())?;
        return Ok(Exit::Success);
    }
    for name in &args.files {
        if name == "-" {
            put_one(session, request.clone(), None, &mut io::stdin().lock())?;
            continue;
        }
        let path = Path::new(name);
        let mut file = File::open(path).map_err(|error| sink::failure("read", path, &error))?;
        if file.metadata().is_ok_and(|found| found.is_dir()) {
            return Err(
                Failure::new(Class::Invalid, format!("{} is a directory", path.display()))
                    .with_hint("`helios commit DIR` records a directory")
                    .into(),
            );
        }
        put_one(session, request.clone(), Some(path), &mut file)?;
    }
    Ok(Exit::Success)
}

fn put_one(
    session: &mut Session,
    request: Request,
    path: Option<&Path>,
    input: &mut dyn Read,
) -> Result<(), Stop> {
    let content = answer!(session.call_reading(request, input), Content);
    let out = &mut session.output;
    if out.json {
        out.json(&content)?;
    } else {
        let id = out.ink(Ink::Id, &content.id.to_string());
        // The same line as b3sum prints; alone with --quiet, for scripts.
        match path {
            Some(path) if !out.quiet => {
                let name = quote::name(path.as_os_str().as_encoded_bytes());
                out.line(format!("{id}  {name}"))?;
            }
            _ => out.line(id)?,
        }
    }
    Ok(())
}

pub fn get(session: &mut Session, args: &GetArgs) -> Result<Exit, Stop> {
    let request = Request::Get(GetRequest {
        id: args.id,
        offset: args.offset,
        length: args.length,
    });
    read(session, request, args.output.as_deref())
}

pub fn cat(session: &mut Session, args: CatArgs) -> Result<Exit, Stop> {
    let request = Request::Cat(CatRequest {
        revision: args.revision.into(),
    });
    read(session, request, args.output.as_deref())
}

fn read(session: &mut Session, request: Request, output: Option<&Path>) -> Result<Exit, Stop> {
    let Some(path) = output else {
        if session.output.json {
            return Err(Failure::new(
                Class::Invalid,
                "the content and the JSON would both go to standard output",
            )
            .with_hint("write the content to a file with -o FILE")
            .into());
        }
        let _: Content = answer!(session.call_printing(request), Content);
        return Ok(Exit::Success);
    };
    let mut sink = Sink::create(path)?;
    let content = answer!(session.call_writing(request, &mut sink), Content);
    sink.finish()?;
    if session.output.json {
        session.output.json(&content)?;
    }
    Ok(Exit::Success)
}

pub fn exists(session: &mut Session, args: ContentArgs) -> Result<Exit, Stop> {
    let found = answer!(
        session.call(Request::Exists(ContentRequest { ids: args.ids })),
        Found
    );
    let out = &mut session.output;
    if out.json {
        out.json(&found)?;
    } else {
        for content in &found.contents {
            let (ink, word) = if content.exists {
                (Ink::Added, "stored")
            } else {
                (Ink::Removed, "missing")
            };
            let word = out.ink(ink, word);
            out.remark(format!("{}  {word}", content.id))?;
        }
    }
    let all = found.contents.iter().all(|content| content.exists);
    Ok(if all { Exit::Success } else { Exit::NotFound })
}

pub fn pin(session: &mut Session, args: ContentArgs, more: bool) -> Result<Exit, Stop> {
    let request = ContentRequest { ids: args.ids };
    let request = if more {
        Request::Pin(request)
    } else {
        Request::Unpin(request)
    };
    let pinned = answer!(session.call(request), Pinned);
    let out = &mut session.output;
    if out.json {
        out.json(&pinned)?;
    } else {
        for content in &pinned.contents {
            out.remark(format!(
                "{}  {}",
                content.id,
                super::plural(content.pins, "pin", "pins")
            ))?;
        }
    }
    Ok(Exit::Success)
}
