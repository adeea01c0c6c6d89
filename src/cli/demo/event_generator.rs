//! Sample events for the demo: drifting prices, chat messages and deploys. No I/O.

use serde_json::{Value, json};

const SYMBOLS: [(&str, f64); 5] = [("ACME", 118.2), ("INIT", 42.75), ("HOOL", 1310.0), ("UMBR", 7.31), ("WAYN", 266.4)];

const PEOPLE: [&str; 6] = ["Luke", "Leia", "Han", "Obi Wan", "Chewie", "Lando"];

const LINES: [&str; 8] = [
    "Anyone else see the new dashboard?",
    "Never tell me the odds.",
    "It works on my node.",
    "Back in five, the coffee is on fire ☕",
    "Who restarted Redis?",
    "I have a bad feeling about this.",
    "Ship it 🚀",
    "¡Hola desde la otra punta del clúster!",
];

const SERVICES: [&str; 4] = ["checkout", "search", "accounts", "mailer"];

const STEPS: [&str; 4] = ["queued", "building", "rolling out", "done"];

/// Generates sample events.
pub(super) struct EventGenerator {
    count: usize,
    prices: [f64; SYMBOLS.len()],
    deploys: [Deploy; SERVICES.len()],
}

#[derive(Clone, Copy)]
struct Deploy {
    build: u32,
    step: usize,
}

impl EventGenerator {
    pub(super) fn new() -> Self {
        let deploys = std::array::from_fn(|_| Deploy { build: rand::random_range(100..900), step: 0 });
        Self { count: 0, prices: SYMBOLS.map(|(_, price)| price), deploys }
    }

    /// The next event, in the form that nodes accept. Of every ten, six are prices, three chat messages and one a deploy.
    pub(super) fn next(&mut self) -> Value {
        self.count += 1;
        let (channel, payload) = match self.count % 10 {
            0 => ("deploys", self.deploy()),
            n if n % 3 == 0 => ("chat", chat()),
            _ => ("prices", self.price()),
        };
        json!({ "channel": channel, "payload": payload })
    }

    fn price(&mut self) -> Value {
        let n = rand::random_range(0..SYMBOLS.len());
        let old = self.prices[n];
        let new = cents((old * rand::random_range(0.99..1.01)).max(1.0));
        self.prices[n] = new;
        json!({ "symbol": SYMBOLS[n].0, "price": new, "change": cents(new - old), "volume": rand::random_range(1..500) })
    }

    fn deploy(&mut self) -> Value {
        let n = rand::random_range(0..SERVICES.len());
        let Deploy { build, step } = self.deploys[n];
        let is_done = step + 1 == STEPS.len();
        self.deploys[n] = if is_done { Deploy { build: build + 1, step: 0 } } else { Deploy { build, step: step + 1 } };
        let by = pick(&PEOPLE);
        json!({ "service": SERVICES[n], "build": build, "status": STEPS[step], "by": by, "pods": { "ready": step, "wanted": 3 } })
    }
}

fn chat() -> Value {
    json!({ "from": pick(&PEOPLE), "text": pick(&LINES), "mentions": if rand::random_bool(0.2) { vec![pick(&PEOPLE)] } else { vec![] } })
}

fn pick<'a>(words: &[&'a str]) -> &'a str {
    words[rand::random_range(0..words.len())]
}

fn cents(price: f64) -> f64 {
    (price * 100.0).round() / 100.0
}
