import jakarta.ws.rs.ClientErrorException;
import jakarta.ws.rs.client.Client;
import jakarta.ws.rs.client.ClientBuilder;
import jakarta.ws.rs.sse.InboundSseEvent;
import jakarta.ws.rs.sse.SseEventSource;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Jersey's SseEventSource: it ends when an attempt to connect fails, and a loop around it builds another one. */
final class Jersey {
    /** For a test: takes no event before the source ended. */
    private static final boolean IS_SLOW = System.getenv("IS_SLOW") != null;

    private final Client client;
    private final String url;
    private CompletableFuture<Throwable> failure;
    private volatile String lastEventId;
    private volatile long retryMillis = 1000;

    Jersey(String url) {
        this.url = url;
        var builder = ClientBuilder.newBuilder();
        // By default it waits without end.
        if (!Program.AS_IT_COMES) builder.readTimeout(45, TimeUnit.SECONDS);
        client = builder.build();
    }

    void follow() throws Exception {
        do {
            readUntilFailure();
            if (failure.get() instanceof ClientErrorException) break;
            Thread.sleep(retryMillis);
        } while (!Program.AS_IT_COMES);
        client.close();
    }

    /** Returns when the source ended and has handed over all that it had. */
    private void readUntilFailure() throws Exception {
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
        Program.message(event.getId(), event.getName(), event.readData());
    }

    private void fail(Throwable thrown) {
        Program.error(thrown);
        failure.complete(thrown);
    }
}
