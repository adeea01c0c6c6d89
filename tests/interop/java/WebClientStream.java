import java.time.Duration;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException;

/** Spring's WebClient reads one answer; reconnecting is a loop around it. */
final class WebClientStream {
    private final WebClient client;
    private String lastEventId;
    private Duration retry = Duration.ofSeconds(1);

    WebClientStream(String url) {
        var builder = WebClient.builder().baseUrl(url);
        // By default an event over 256 KiB, field names included, is an error: the node's largest event does not fit.
        if (!Program.AS_IT_COMES) builder.codecs(codecs -> codecs.defaultCodecs().maxInMemorySize(1 << 20));
        client = builder.build();
    }

    void follow() throws InterruptedException {
        for (; ; ) {
            try {
                client.get()
                        .headers(headers -> {
                            if (lastEventId != null) headers.set("Last-Event-ID", lastEventId);
                        })
                        .retrieve()
                        .bodyToFlux(new ParameterizedTypeReference<ServerSentEvent<String>>() {})
                        .doOnNext(this::take)
                        .blockLast();
            } catch (WebClientResponseException failure) {
                Program.error(failure);
                // A stream that breaks is one too, with its original status 200.
                if (failure.getStatusCode().isError()) return;
            } catch (RuntimeException failure) {
                Program.error(failure);
            }
            Thread.sleep(retry.toMillis());
        }
    }

    private void take(ServerSentEvent<String> event) {
        if (event.id() != null) lastEventId = event.id();
        if (event.retry() != null) retry = event.retry();
        Program.message(event.id(), event.event(), event.data() == null ? "" : event.data());
    }
}
