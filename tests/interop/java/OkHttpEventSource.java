import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.RetryDelayStrategy;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.concurrent.TimeUnit;

/** LaunchDarkly's okhttp-eventsource, which reconnects by itself. */
final class OkHttpEventSource {
    private OkHttpEventSource() {}

    static void follow(String url) throws Exception {
        var connect = ConnectStrategy.http(URI.create(url));
        if (!Program.AS_IT_COMES) connect = connect.readTimeout(45, TimeUnit.SECONDS);
        var builder = new EventSource.Builder(connect);
        if (!Program.AS_IT_COMES) {
            builder.errorStrategy(ErrorStrategy.alwaysContinue());
            // The node already spreads its `retry:` over clients, and lengthens it where needed.
            builder.retryDelayStrategy(RetryDelayStrategy.defaultStrategy().backoffMultiplier(1));
        }
        try (var source = builder.build()) {
            for (; ; ) {
                var event = source.readAnyEvent();
                if (event instanceof MessageEvent message) {
                    Program.message(message.getLastEventId(), message.getEventName(), message.getData());
                } else if (event instanceof FaultEvent fault) {
                    if (fault.getCause() instanceof StreamHttpErrorException refused) {
                        Program.error(refused.getCode());
                        return;
                    }
                    Program.error(fault.getCause());
                }
            }
        } catch (com.launchdarkly.eventsource.StreamException failure) {
            Program.error(failure);
        }
    }
}
