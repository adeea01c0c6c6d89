import com.fasterxml.jackson.databind.ObjectMapper;
import jakarta.ws.rs.client.ClientBuilder;
import java.util.LinkedHashMap;
import java.util.Map;
import okhttp3.OkHttpClient;
import org.springframework.web.reactive.function.client.WebClient;

/**
 * Clients and publishers in Java, each by its name: {@code java Program okhttp-sse URL}.
 *
 * <p>AS_IT_COMES=1 leaves out the settings that docs/guide/clients/java.md recommends.
 */
final class Program {
    static final boolean AS_IT_COMES = System.getenv("AS_IT_COMES") != null;
    static final ObjectMapper JSON = new ObjectMapper();

    private Program() {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "okhttp-sse" -> new OkHttpSse(AS_IT_COMES ? new OkHttpClient() : OkHttpSse.client(), args[1], new Printing()).connect();
            case "okhttp-eventsource" -> okHttpEventSource(args[1]);
            case "webclient" -> new WebClientStream(
                    AS_IT_COMES ? WebClient.create(args[1]) : WebClientStream.client(args[1]), new Printing()).follow();
            case "jersey" -> jersey(args[1]);
            case "jdk" -> new JdkStream(args[1]).follow();
            case "publish-with-jdk" -> Publishers.publish(Publishers::withJdk);
            case "publish-with-hc5" -> Publishers.publish(Publishers::withHc5);
            case "sample-with-jdk" -> sample(Sample::withJdk, args[1]);
            case "sample-with-spring" -> sample(Sample::withSpring, args[1]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void okHttpEventSource(String url) {
        try (var source = AS_IT_COMES ? OkHttpEventSource.openAsItComes(url) : OkHttpEventSource.open(url)) {
            OkHttpEventSource.follow(source, new Printing());
        } catch (com.launchdarkly.eventsource.StreamException failure) {
            error(failure);
        }
    }

    private static void jersey(String url) throws Exception {
        var client = AS_IT_COMES ? ClientBuilder.newClient() : Jersey.client();
        var jersey = new Jersey(client, url, new Printing());
        if (AS_IT_COMES) jersey.readUntilFailure();
        else jersey.follow();
        client.close();
    }

    /** Prints a message that a client delivered. */
    static void message(String id, String channel, String data) {
        var line = new LinkedHashMap<String, String>();
        line.put("id", id);
        line.put("channel", channel);
        line.put("data", data);
        print(line);
    }

    /** Prints a failure that a client reported. */
    static void error(Object failure) {
        print(Map.of("error", String.valueOf(failure)));
    }

    static synchronized void print(Object line) {
        try {
            System.out.write((JSON.writeValueAsString(line) + "\n").getBytes("UTF-8"));
            System.out.flush();
        } catch (java.io.IOException failure) {
            throw new java.io.UncheckedIOException(failure);
        }
    }

    private interface Publisher {
        void publish(String url) throws Exception;
    }

    private static void sample(Publisher publisher, String url) {
        try {
            publisher.publish(url);
        } catch (Exception failure) {
            error(failure.getMessage());
        }
        System.exit(0);
    }

    private static final class Printing implements Subscriber {
        @Override
        public void receive(String id, String channel, String data) {
            message(id, channel, data);
        }

        @Override
        public void lost(Throwable failure) {
            error(failure);
        }

        @Override
        public void refused(int status) {
            error(status);
        }
    }
}
