import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.HashMap;
import java.util.Map;

/** The JDK's HttpClient: a stream of lines, and a loop around it. */
final class JdkStream {
    private final HttpClient client = HttpClient.newHttpClient();
    private final URI url;
    private String lastEventId;
    private long retryMillis = 1000;

    JdkStream(String url) {
        this.url = URI.create(url);
    }

    void follow() throws InterruptedException {
        for (; ; ) {
            try {
                if (isRefused()) return;
            } catch (IOException | UncheckedIOException failure) {
                Program.error(failure);
            }
            Thread.sleep(retryMillis);
        }
    }

    /** Reads one answer to its end. */
    private boolean isRefused() throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(url).header("Accept", "text/event-stream");
        if (lastEventId != null) request.header("Last-Event-ID", lastEventId);
        var answer = client.send(request.build(), BodyHandlers.ofLines());
        try (var lines = answer.body()) {
            if (answer.statusCode() != 200) {
                Program.error(answer.statusCode());
                return true;
            }
            var fields = new HashMap<String, String>();
            lines.forEach(line -> {
                if (line.isEmpty()) {
                    take(fields);
                    fields.clear();
                } else if (line.indexOf(':') > 0) {
                    var value = line.substring(line.indexOf(':') + 1);
                    fields.put(line.substring(0, line.indexOf(':')), value.startsWith(" ") ? value.substring(1) : value);
                }
            });
        }
        return false;
    }

    private void take(Map<String, String> fields) {
        if (fields.containsKey("retry")) retryMillis = Long.parseLong(fields.get("retry"));
        if (fields.containsKey("id")) lastEventId = fields.get("id");
        if (fields.containsKey("data")) Program.message(lastEventId, fields.get("event"), fields.get("data"));
    }
}
