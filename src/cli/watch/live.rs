//! The full screen: the terminal, what happens, and the drawing.

use std::{io, pin::pin};

use crossterm::event::{Event as Input, EventStream};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use ratatui::DefaultTerminal;

use super::{
    PACE, WatchArgs,
    app::{Act, App, Event, Order},
    frame::{Look, draw},
    looks,
};
use crate::{
    cli::{
        Exit, Failure, ask,
        cluster::Cluster,
        controller::signal,
        output::{Output, Tone},
        status::{Ended, show},
    },
    clock::Clock,
};

/// Shows it until a key or a signal ends it, or the goal is reached.
pub(super) async fn run(args: &WatchArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    // Before the screen is taken: what is not there is an error on the terminal as it was.
    let rollout = cluster.get(&args.name).await?;
    let record = cluster.record(&rollout).await;
    let look = Look { colour: output.terminal().colour };
    let (ended, app) = {
        let mut screen = Screen::take().map_err(no_screen)?;
        let size = screen.terminal.size().map_err(no_screen)?;
        let mut app = App::new(rollout, (size.width, size.height), clock.now());
        if let Some(record) = record {
            app.recall(&record);
        }
        (follow(args, cluster, clock, look, &mut screen.terminal, &mut app).await?, app)
    };
    let Some(ended) = ended else { return Ok(Exit::Reached) };
    show(&app.rollout, clock.now(), output)?;
    output.hint(&ended.words);
    Ok(ended.exit)
}

async fn follow(
    args: &WatchArgs,
    cluster: &Cluster,
    clock: Clock,
    look: Look,
    terminal: &mut DefaultTerminal,
    app: &mut App,
) -> Result<Option<Ended>, Failure> {
    let (mut looks, mut over, mut stop) = (pin!(looks(cluster, &args.name)), pin!(args.over()), pin!(signal()));
    let (mut keys, mut ticks) = (EventStream::new(), tokio::time::interval(PACE));
    let mut orders: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
    if let Some(ended) = args.ended(None, &app.rollout) {
        return Ok(Some(ended));
    }
    loop {
        terminal.draw(|frame| draw(app, look, frame.area(), frame.buffer_mut())).map_err(no_screen)?;
        let event = tokio::select! {
            input = keys.next() => match input {
                Some(Ok(Input::Key(key))) => Event::Key(key),
                Some(Ok(Input::Resize(columns, lines))) => Event::Resized(columns, lines),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(no_screen(error)),
                None => return Ok(args.left(&app.rollout)),
            },
            looked = looks.next() => match looked {
                Some(Ok(rollout)) => {
                    if let Some(ended) = args.ended(Some(&app.rollout), &rollout) {
                        app.update(Event::Seen(Box::new(rollout)), clock.now());
                        return Ok(Some(ended));
                    }
                    Event::Seen(Box::new(rollout))
                }
                Some(Err(failure)) if failure.exit == Exit::Error => Event::Lost(failure.message),
                Some(Err(failure)) => return Err(failure),
                None => return Ok(args.left(&app.rollout)),
            },
            Some(answered) = orders.next() => answered,
            _ = ticks.tick() => Event::Tick,
            () = &mut over => return Ok(args.left(&app.rollout)),
            () = &mut stop => return Ok(args.left(&app.rollout)),
        };
        match app.update(event, clock.now()) {
            Some(Act::Quit) => return Ok(args.left(&app.rollout)),
            Some(Act::Order(order)) => orders.push(Box::pin(give(order, cluster))),
            None => {}
        }
    }
}

/// Gives a command, as the command line does.
async fn give(order: Order, cluster: &Cluster) -> Event {
    match ask::say(order.verb, order.reason.as_deref(), &order.shown, cluster).await {
        Ok((tone, text)) => Event::Answered(tone, text),
        Err(failure) if failure.fix.is_empty() => Event::Answered(Tone::Bad, failure.message),
        Err(failure) => Event::Answered(Tone::Bad, format!("{}: {}", failure.message, failure.fix)),
    }
}

/// The terminal, which is as it was before once this is dropped. A panic gives it back before it speaks.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn take() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn no_screen(error: io::Error) -> Failure {
    Failure::new(Exit::Error, format!("cannot draw on this terminal: {error}"), "--plain prints a line for each change")
}
