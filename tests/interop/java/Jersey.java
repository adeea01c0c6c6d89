import jakarta.ws.rs.ClientErrorException;
import jakarta.ws.rs.client.Client;
import jakarta.ws.rs.client.ClientBuilder;
import jakarta.ws.rs.sse.InboundSseEvent;
import jakarta.ws.rs.sse.SseEventSource;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Follows a pipeline with Jersey's SseEventSource, which ends when an attempt to connect fails. */
final class Jersey {
    /** For a test: receives no event before the source ended. */
    private static final boolean IS_SLOW = System.getenv("IS_SLOW") != null;

    private final Client client;
    private final String url;
    private final Subscriber subscriber;
    private CompletableFuture<Throwable> failure;
    private volatile String lastEventId;
    private volatile long retryMillis = 1000;

    Jersey(Client client, String url, Subscriber subscriber) {
        this.client = client;
        this.url = url;
        this.subscriber = subscriber;
    }

    static Client client() {
        // By default it waits without limit.
        return ClientBuilder.newBuilder().readTimeout(45, TimeUnit.SECONDS).build();
    }

    void follow() throws Exception {
        for (; ; ) {
            readUntilFailure();
            if (failure.get() instanceof ClientErrorException) break; // refused
            Thread.sleep(retryMillis);
        }
    }

    /** Returns when the source has ended and has delivered all events. */
    void readUntilFailure() throws Exception {
        var target = client.target(url);
        if (lastEventId != null) target = target.queryParam("last_event_id", lastEventId);
        failure = new CompletableFuture<>();
        var isComplete = new CompletableFuture<Void>();
        try (var source = SseEventSource.target(target).reconnectingEvery(retryMillis, TimeUnit.MILLISECONDS).build()) {
            source.register(this::take, this::fail, () -> isComplete.complete(null));
            source.open();
            failure.get();
            // It reports a failure before it has delivered all events.
            isComplete.get();
        }
    }

    private void take(InboundSseEvent event) {
        if (IS_SLOW) failure.join();
        if (event.getId() != null) lastEventId = event.getId();
        if (event.isReconnectDelaySet()) retryMillis = event.getReconnectDelay();
        subscriber.receive(event.getId(), event.getName(), event.readData());
    }

    private void fail(Throwable thrown) {
        subscriber.lost(thrown);
        failure.complete(thrown);
    }
}
