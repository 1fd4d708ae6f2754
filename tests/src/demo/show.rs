//! Progress: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the state of things is told where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// What the audience sees.
#[derive(Debug)]
pub struct Show {
    bar: Option<ProgressBar>,
    begun: Instant,
    last_line: Mutex<Instant>,
}

impl Show {
    /// Begins; `steps` is what the bar counts to.
    pub fn begin(steps: u64) -> Show {
        let bar = std::io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} {bar:36} {pos:>3}/{len} {msg}");
            let bar = ProgressBar::new(steps);
            bar.enable_steady_tick(Duration::from_millis(200));
            style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
        });
        Show { bar, begun: Instant::now(), last_line: Mutex::new(Instant::now()) }
    }

    /// Tells one thing.
    pub fn say(&self, line: impl AsRef<str>) {
        let line = format!("{:6.1} s  {}", self.begun.elapsed().as_secs_f64(), line.as_ref());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => println!("{line}"),
        }
    }

    /// Tells how far it is.
    pub fn progress(&self, step: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(message.to_owned());
            return;
        }
        let Ok(mut last) = self.last_line.lock() else { return };
        if last.elapsed() >= LINE_PERIOD {
            *last = Instant::now();
            self.say(message);
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}
