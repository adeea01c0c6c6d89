import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.hc.client5.http.classic.methods.HttpPost;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.core5.http.io.entity.ByteArrayEntity;
import org.apache.hc.core5.http.io.entity.EntityUtils;

/** Publishers: a request for each line of the standard input, one after the other, and its status. See publishers.mjs. */
final class Publishers {
    private static final HttpClient JDK = HttpClient.newHttpClient();
    private static final CloseableHttpClient HC5 = HttpClients.createDefault();

    private Publishers() {}

    interface Post {
        int post(String url, JsonNode headers, byte[] body) throws Exception;
    }

    static void publish(Post post) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = input.readLine()) != null; ) {
            var request = Program.JSON.readTree(line);
            var body = request.get("before").asText() + "x".repeat(request.get("fill").asInt()) + request.get("after").asText();
            try {
                var bytes = body.getBytes(StandardCharsets.UTF_8);
                Program.print(Map.of("status", post.post(request.get("url").asText(), request.get("headers"), bytes)));
            } catch (Exception failure) {
                Program.error(failure);
            }
        }
        System.exit(0);
    }

    static int withJdk(String url, JsonNode headers, byte[] body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).POST(BodyPublishers.ofByteArray(body));
        headers.properties().forEach(header -> request.header(header.getKey(), header.getValue().asText()));
        if (System.getenv("EXPECT_CONTINUE") != null) {
            // The request's own timeout does not end it.
            request.expectContinue(true).timeout(Duration.ofSeconds(2));
            return JDK.sendAsync(request.build(), BodyHandlers.ofString()).get(10, TimeUnit.SECONDS).statusCode();
        }
        return JDK.send(request.build(), BodyHandlers.ofString()).statusCode();
    }

    static int withHc5(String url, JsonNode headers, byte[] body) throws Exception {
        var request = new HttpPost(url);
        headers.properties().forEach(header -> request.addHeader(header.getKey(), header.getValue().asText()));
        request.setEntity(new ByteArrayEntity(body, null));
        return HC5.execute(request, answer -> {
            EntityUtils.consume(answer.getEntity());
            return answer.getCode();
        });
    }
}
