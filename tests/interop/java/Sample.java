import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Map;
import java.util.UUID;
import org.springframework.http.HttpStatusCode;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException;
import reactor.core.publisher.Mono;
import reactor.util.retry.Retry;

/** Publishers, see samples.mjs. */
final class Sample {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final ObjectMapper JSON = new ObjectMapper();

    private Sample() {}

    /** Publishes one event and returns its id. Retries with the same key, so that the event is stored once. */
    static String publish(URI url, String token, String channel, Object payload) throws IOException, InterruptedException {
        var body = JSON.writeValueAsBytes(Map.of("channel", channel, "payload", payload));
        var request = HttpRequest.newBuilder(url)
                .timeout(Duration.ofSeconds(10))
                .header("Content-Type", "application/json")
                .header("Authorization", "Bearer " + token)
                .header("Idempotency-Key", UUID.randomUUID().toString())
                .POST(BodyPublishers.ofByteArray(body))
                .build();
        for (int attempt = 1; ; attempt++) {
            try {
                var answer = HTTP.send(request, BodyHandlers.ofString());
                if (answer.statusCode() == 202) return JSON.readTree(answer.body()).get("id").asText();
                var isTemporary = answer.statusCode() == 429 || answer.statusCode() >= 500;
                if (!isTemporary || attempt == 5) {
                    throw new IllegalStateException("not published: " + answer.statusCode() + " " + answer.body());
                }
            } catch (IOException failure) {
                if (attempt == 5) throw failure;
            }
            Thread.sleep(attempt * 200L);
        }
    }

    /** The same with Spring's WebClient. */
    static Mono<String> publish(WebClient client, String url, String token, String channel, Object payload) {
        return client.post()
                .uri(url)
                .headers(headers -> headers.setBearerAuth(token))
                .header("Idempotency-Key", UUID.randomUUID().toString())
                .bodyValue(Map.of("channel", channel, "payload", payload))
                .retrieve()
                .bodyToMono(JsonNode.class)
                .map(reply -> reply.get("id").asText())
                .timeout(Duration.ofSeconds(30))
                .retryWhen(Retry.backoff(5, Duration.ofMillis(200)).filter(Sample::isTemporary));
    }

    private static boolean isTemporary(Throwable failure) {
        if (!(failure instanceof WebClientResponseException refused)) return true;
        HttpStatusCode status = refused.getStatusCode();
        return status.is5xxServerError() || status.value() == 429;
    }

    static void withJdk(String url) throws Exception {
        for (var name : new String[] {"Luke", "Leia"}) {
            Program.print(Map.of("id", publish(URI.create(url), System.getenv("TOKEN"), "names", Map.of("name", name))));
        }
    }

    static void withSpring(String url) {
        var client = WebClient.create();
        for (var name : new String[] {"Luke", "Leia"}) {
            try {
                Program.print(Map.of("id", publish(client, url, System.getenv("TOKEN"), "names", Map.of("name", name)).block()));
            } catch (WebClientResponseException failure) {
                throw new IllegalStateException(failure.getStatusCode() + " " + failure.getResponseBodyAsString());
            }
        }
    }
}
