import java.time.Duration;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException;

/** Follows a pipeline with Spring's WebClient, which reads one answer. */
final class WebClientStream {
    private final WebClient client;
    private final Subscriber subscriber;
    private String lastEventId;
    private Duration retry = Duration.ofSeconds(1);

    WebClientStream(WebClient client, Subscriber subscriber) {
        this.client = client;
        this.subscriber = subscriber;
    }

    static WebClient client(String url) {
        return WebClient.builder()
                .baseUrl(url)
                // By default an event over 256 KiB, field names included, breaks the stream.
                .codecs(codecs -> codecs.defaultCodecs().maxInMemorySize(1 << 20))
                .build();
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
                // A stream that breaks is one too, with its original status 200.
                if (failure.getStatusCode().is4xxClientError()) {
                    subscriber.refused(failure.getStatusCode().value());
                    return;
                }
                subscriber.lost(failure);
            } catch (RuntimeException failure) {
                subscriber.lost(failure);
            }
            Thread.sleep(retry.toMillis());
        }
    }

    private void take(ServerSentEvent<String> event) {
        if (event.id() != null) lastEventId = event.id();
        if (event.retry() != null) retry = event.retry();
        subscriber.receive(event.id(), event.event(), event.data() == null ? "" : event.data());
    }
}
