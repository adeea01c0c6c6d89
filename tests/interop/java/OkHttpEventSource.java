import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.RetryDelayStrategy;
import com.launchdarkly.eventsource.StreamException;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.concurrent.TimeUnit;

/** LaunchDarkly's okhttp-eventsource, which reconnects by itself. */
final class OkHttpEventSource {
    private OkHttpEventSource() {}

    static EventSource open(String url) {
        return new EventSource.Builder(ConnectStrategy.http(URI.create(url)).readTimeout(45, TimeUnit.SECONDS))
                .errorStrategy(ErrorStrategy.alwaysContinue())
                // The node already spreads its `retry:` over clients, and lengthens it where needed.
                .retryDelayStrategy(RetryDelayStrategy.defaultStrategy().backoffMultiplier(1))
                .build();
    }

    static void follow(EventSource source, Subscriber subscriber) throws StreamException {
        for (; ; ) {
            var event = source.readAnyEvent();
            if (event instanceof MessageEvent message) {
                subscriber.receive(message.getLastEventId(), message.getEventName(), message.getData());
            } else if (event instanceof FaultEvent fault) {
                if (fault.getCause() instanceof StreamHttpErrorException refused) {
                    subscriber.refused(refused.getCode());
                    return;
                }
                subscriber.lost(fault.getCause());
            }
        }
    }

    /** With its defaults. */
    static EventSource openAsItComes(String url) {
        return new EventSource.Builder(ConnectStrategy.http(URI.create(url))).build();
    }
}
