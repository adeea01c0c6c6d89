//! The real hub on the embedded store, under paused time, with notifications that fail as a script says.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Wake, Waker};

use proptest::prelude::*;
use proptest::sample::Index;
use tokio::task::JoinHandle;

use super::live_log::Ticket;
use super::open_log::LogView;
use super::read_queue::ReadQueue;
use super::*;
use crate::event::{Batch, EventId, EventLimits, ResumePoint};
use crate::log::{Cursor, Read, ReadLimits};
use crate::sse::frame::Frame;
use crate::store::memory::MemoryStore;
use crate::store::{Retention, Store};

const LIMITS: LogLimits = LogLimits {
    history: 1000,
    history_bytes: 1 << 20,
    backlog_bytes: 0,
    backlog_age: Duration::ZERO,
    compresses: false,
};
const OPTIONS: HubOptions = HubOptions {
    log: LIMITS,
    log_memory: usize::MAX,
    hold: Duration::ZERO,
    linger: Duration::from_secs(30),
    check_interval: Duration::from_secs(30),
};
const RETENTION: Retention = Retention { limit: 1000, bytes: 1 << 20, ttl: Duration::from_secs(86_400) };

fn hub() -> (Arc<Hub>, mpsc::UnboundedReceiver<HubCommand>) {
    Hub::new(OPTIONS, Arc::new(Metrics::new().unwrap()))
}

fn store(sink: Arc<dyn EventSink>) -> MemoryStore {
    MemoryStore::new(RETENTION, 1 << 24, sink)
}

fn id(name: &str) -> PipelineId {
    name.parse().unwrap()
}

#[test]
fn logs_closed_while_they_waited_are_not_read() {
    let (hub, _commands) = hub();
    let store = Store::Memory(Arc::new(store(hub.clone())));
    let mut waiting = ReadQueue::default();
    let mut open = |name: &str| {
        let reader = hub.join(&id(name));
        waiting.push(reader.log().clone());
        reader
    };
    for n in 0..10_000 {
        drop(open(&format!("left-{n}")));
    }
    let kept = open("kept");
    // A pipeline that is opened again has another log.
    drop(open("again"));
    while hub.close_idle(&store, Duration::ZERO) {}
    let again = hub.join(&id("again"));
    assert_eq!(hub.open_logs(), 2);
    let read = hub.next_read(&mut waiting).unwrap();
    assert!(Arc::ptr_eq(&read.log, kept.log()));
    assert!(hub.next_read(&mut waiting).is_none() && waiting.pop().is_none());
    drop(again);
}

#[test]
fn pipeline_opened_and_left_repeatedly_is_queued_once_for_closing() {
    let (hub, mut commands) = hub();
    for _ in 0..10_000 {
        for pipeline in ["a", "b"].map(id) {
            drop(hub.join(&pipeline));
        }
    }
    assert_eq!((hub.idle.lock().len(), hub.open_logs()), (2, 2));
    let count = std::iter::from_fn(|| commands.try_recv().ok()).count();
    assert_eq!(count, 2, "each was opened once");
}

/// Asks the store as soon as it is woken.
struct Asking {
    store: Arc<MemoryStore>,
    is_answered: Mutex<Option<bool>>,
}

impl Wake for Asking {
    fn wake(self: Arc<Self>) {
        let (answer, answered) = std::sync::mpsc::channel();
        let store = self.store.clone();
        std::thread::spawn(move || answer.send(store.about(&id("p"))));
        *self.is_answered.lock() = Some(answered.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}

#[test]
fn readers_are_woken_after_the_store_has_released_its_lock() {
    let (hub, _commands) = hub();
    let store = Arc::new(store(hub.clone()));
    let reader = hub.join(&id("p"));
    let _ = reader.log().subscribed();
    reader.log().start_read().unwrap();
    let _ = reader.log().history_arrived(store.history(&id("p")), now());
    let asking = Arc::new(Asking { store: store.clone(), is_answered: Mutex::new(None) });
    reader.wake_at_change(&Waker::from(asking.clone()));
    publish(&store);
    assert_eq!(*asking.is_answered.lock(), Some(true));
}

/// What becomes of a notification.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    ArrivesTwice,
    /// Until [`Step::Late`], or a lost subscription.
    IsHeldUp,
    IsLost,
}

/// The way from the store to the hub.
#[derive(Debug)]
struct Unreliable {
    hub: Arc<Hub>,
    next: Mutex<Fate>,
    held_up: Mutex<VecDeque<Notification>>,
}

impl EventSink for Unreliable {
    fn notify(&self, pipeline: &str, notification: Notification) -> Wakers {
        match *self.next.lock() {
            Fate::Arrives => return self.hub.notify(pipeline, notification),
            Fate::ArrivesTwice => {
                self.hub.notify(pipeline, notification.clone()).wake();
                return self.hub.notify(pipeline, notification);
            }
            Fate::IsHeldUp => self.held_up.lock().push_back(notification),
            Fate::IsLost => {}
        }
        Wakers::default()
    }

    fn notification_damaged(&self, pipeline: &str) {
        self.hub.notification_damaged(pipeline);
    }

    fn subscribed(&self, pipelines: &[PipelineId]) {
        self.hub.subscribed(pipelines);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Fate),
    /// The oldest notification that was held up arrives, or any other.
    Late(Index),
    /// One that cannot be read arrives.
    Damaged,
    /// The subscription is lost and regained, and what was held up is lost.
    Resubscribe,
    Wait(u64),
    /// A new client joins, or one that left resumes.
    Join(Option<Index>),
    Leave(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let fate = prop_oneof![
        5 => Just(Fate::Arrives),
        1 => Just(Fate::ArrivesTwice),
        2 => Just(Fate::IsHeldUp),
        2 => Just(Fate::IsLost),
    ];
    let step = prop_oneof![
        8 => fate.prop_map(Step::Publish),
        2 => index().prop_map(Step::Late),
        1 => Just(Step::Damaged),
        1 => Just(Step::Resubscribe),
        // Longer than a log without readers stays open, now and then.
        3 => (1u64..20_000).prop_map(Step::Wait),
        3 => prop::option::of(index()).prop_map(Step::Join),
        2 => index().prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..60)
}

/// A client on a task of its own: it reads when it is woken, and only then.
struct Client {
    received: Arc<Mutex<Vec<EventId>>>,
    task: JoinHandle<()>,
}

impl Client {
    fn join(hub: &Arc<Hub>, received: Vec<EventId>) -> Self {
        let after = received.last().copied();
        let received = Arc::new(Mutex::new(received));
        let task = tokio::spawn(read(hub.join(&id("p")), after, received.clone()));
        Self { received, task }
    }

    fn leave(self) -> Vec<EventId> {
        self.task.abort();
        std::mem::take(&mut *self.received.lock())
    }
}

async fn read(reader: Reader, after: Option<EventId>, received: Arc<Mutex<Vec<EventId>>>) {
    until(&reader, |view| view.has_read(Ticket::FIRST).then_some(())).await;
    if after.is_some_and(|after| reader.look(|view| after > view.log.tail())) {
        let ticket = reader.request_read(ReadReason::Ahead);
        until(&reader, |view| view.has_read(ticket).then_some(())).await;
    }
    let mut cursor = reader.look(|view| place(&view, after));
    loop {
        let frames = until(&reader, |view| read_frames(&view, &mut cursor)).await;
        received.lock().extend(frames.iter().map(Frame::id));
    }
}

fn place(view: &LogView<'_>, after: Option<EventId>) -> Cursor {
    let Some(after) = after else { return view.log.place_newest(usize::MAX, |_| true) };
    let (cursor, gap) = view.log.place_after(&ResumePoint::After(after), u64::MAX);
    assert_eq!(gap, None);
    cursor
}

fn read_frames(view: &LogView<'_>, cursor: &mut Cursor) -> Option<Vec<Frame>> {
    match view.log.read(cursor, ReadLimits { frames: 7, bytes: 1 << 20 }, u64::MAX, |_| true) {
        Read::Frames(frames) => Some(frames),
        Read::Nothing => None,
        Read::Gap(gap) => panic!("nothing was lost: {gap:?}"),
    }
}

async fn until<T>(reader: &Reader, mut look: impl FnMut(LogView<'_>) -> Option<T>) -> T {
    poll_fn(|cx| reader.poll(cx, |view| look(view).map_or(Poll::Pending, Poll::Ready))).await
}

/// A node, its store, and the clients of one pipeline.
struct World {
    hub: Arc<Hub>,
    sink: Arc<Unreliable>,
    store: Arc<MemoryStore>,
    clients: Vec<Client>,
    /// What clients that left had received.
    left: Vec<Vec<EventId>>,
}

impl World {
    /// Runs the hub, until the runtime ends.
    fn start() -> Self {
        let (hub, commands) = hub();
        let sink =
            Arc::new(Unreliable { hub: hub.clone(), next: Mutex::new(Fate::Arrives), held_up: Mutex::default() });
        let store = Arc::new(store(sink.clone()));
        tokio::spawn(hub.clone().run(Arc::new(Store::Memory(store.clone())), commands));
        Self { hub, sink, store, clients: Vec::new(), left: Vec::new() }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish(fate) => {
                *self.sink.next.lock() = fate;
                publish(&self.store);
            }
            Step::Late(which) => {
                let mut held_up = self.sink.held_up.lock();
                let which = which.index(held_up.len().max(1));
                if let Some(notification) = held_up.remove(which) {
                    self.hub.notify("p", notification).wake();
                }
            }
            Step::Damaged => self.hub.notification_damaged("p"),
            Step::Resubscribe => {
                self.sink.held_up.lock().clear();
                self.hub.subscribed(&[id("p")]);
            }
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Join(which) => {
                let which = which.filter(|_| !self.left.is_empty()).map(|which| which.index(self.left.len()));
                let received = which.map(|which| self.left.swap_remove(which)).unwrap_or_default();
                self.clients.push(Client::join(&self.hub, received));
            }
            Step::Leave(which) if !self.clients.is_empty() => {
                let which = which.index(self.clients.len());
                self.left.push(self.clients.swap_remove(which).leave());
            }
            Step::Leave(_) => {}
        }
        tokio::task::yield_now().await;
    }

    /// Nothing more arrives: the regular comparison finds what was lost.
    async fn settle(mut self) -> Result<(), TestCaseError> {
        self.step(Step::Join(None)).await;
        self.clients.extend(self.left.drain(..).map(|received| Client::join(&self.hub, received)));
        tokio::time::sleep(2 * OPTIONS.check_interval).await;
        let newest = self.store.history(&id("p")).newest();
        let expected: Vec<_> = (1..=newest.seq).collect();
        for client in self.clients {
            let seqs: Vec<_> = client.leave().iter().map(|id| id.seq).collect();
            prop_assert_eq!(&seqs, &expected);
        }
        Ok(())
    }
}

fn publish(store: &MemoryStore) {
    let limits = EventLimits { max_event_size: 1 << 10, max_batch_events: 1, max_json_depth: 1 };
    let batch = Batch::from_json(br#"{"channel": "a", "payload": 1}"#, &limits).unwrap();
    store.append(&id("p"), batch, None).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn clients_receive_each_event_once_however_notifications_fail(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::start();
            for step in steps {
                world.step(step).await;
            }
            world.settle().await
        })?;
    }
}
