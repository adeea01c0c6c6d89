import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** okhttp-sse reads one answer; reconnecting is up to the listener. */
final class OkHttpSse extends EventSourceListener {
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    private final OkHttpClient client;
    private final String url;
    private volatile String lastEventId;

    OkHttpSse(String url) {
        this.url = url;
        var builder = new OkHttpClient.Builder();
        // okhttp gives up after 10 s without a byte by default, and keepalives arrive every 15 s.
        if (!Program.AS_IT_COMES) builder.readTimeout(45, TimeUnit.SECONDS);
        client = builder.build();
    }

    void connect() {
        var request = new Request.Builder().url(url);
        if (lastEventId != null) request.header("Last-Event-ID", lastEventId);
        EventSources.createFactory(client).newEventSource(request.build(), this);
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) lastEventId = id;
        Program.message(id, type, data);
    }

    @Override
    public void onClosed(EventSource source) {
        connectLater();
    }

    @Override
    public void onFailure(EventSource source, Throwable failure, Response answer) {
        if (answer != null && answer.code() != 200) {
            Program.error(answer.code());
            timer.shutdown();
            return;
        }
        Program.error(failure);
        connectLater();
    }

    private void connectLater() {
        timer.schedule(this::connect, Program.retryMillis(), TimeUnit.MILLISECONDS);
    }
}
