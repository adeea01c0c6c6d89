import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** Follows a pipeline with okhttp-sse, which reads one answer. */
final class OkHttpSse extends EventSourceListener {
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    private final OkHttpClient client;
    private final String url;
    private final Subscriber subscriber;
    private volatile String lastEventId;

    OkHttpSse(OkHttpClient client, String url, Subscriber subscriber) {
        this.client = client;
        this.url = url;
        this.subscriber = subscriber;
    }

    static OkHttpClient client() {
        // OkHttp drops a stream that is quiet for 10 s by default, and keepalives arrive every 15 s.
        return new OkHttpClient.Builder().readTimeout(45, TimeUnit.SECONDS).build();
    }

    void connect() {
        var request = new Request.Builder().url(url);
        if (lastEventId != null) request.header("Last-Event-ID", lastEventId);
        EventSources.createFactory(client).newEventSource(request.build(), this);
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) lastEventId = id;
        subscriber.receive(id, type, data);
    }

    @Override
    public void onClosed(EventSource source) {
        connectLater();
    }

    @Override
    public void onFailure(EventSource source, Throwable failure, Response answer) {
        if (answer != null && answer.code() >= 400 && answer.code() < 500) {
            subscriber.refused(answer.code());
            timer.shutdown();
        } else {
            subscriber.lost(failure);
            connectLater();
        }
    }

    private void connectLater() {
        // okhttp-sse does not pass on `retry:`, which a node draws from this range.
        timer.schedule(this::connect, ThreadLocalRandom.current().nextLong(1000, 3000), TimeUnit.MILLISECONDS);
    }
}
