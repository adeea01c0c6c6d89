import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Clients and publishers in Java, each by its name: {@code java Program okhttp-sse URL}.
 *
 * <p>AS_IT_COMES=1 leaves out the settings that docs/guide/clients/index.md tells of.
 */
final class Program {
    static final boolean AS_IT_COMES = System.getenv("AS_IT_COMES") != null;
    static final ObjectMapper JSON = new ObjectMapper();

    private Program() {}

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "okhttp-sse" -> new OkHttpSse(args[1]).connect();
            case "okhttp-eventsource" -> OkHttpEventSource.follow(args[1]);
            case "webclient" -> new WebClientStream(args[1]).follow();
            case "jersey" -> new Jersey(args[1]).follow();
            case "jdk" -> new JdkStream(args[1]).follow();
            case "publish-with-jdk" -> Publishers.publish(Publishers::withJdk);
            case "publish-with-hc5" -> Publishers.publish(Publishers::withHc5);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    /** Prints a message that a client handed over. */
    static void message(String id, String channel, String data) {
        var line = new LinkedHashMap<String, String>();
        line.put("id", id);
        line.put("channel", channel);
        line.put("data", data);
        print(line);
    }

    /** Prints what a client told of a failure. */
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

    /** What a node's {@code retry:} is drawn from, for clients that do not hand it over. */
    static long retryMillis() {
        return ThreadLocalRandom.current().nextLong(1000, 3000);
    }
}
