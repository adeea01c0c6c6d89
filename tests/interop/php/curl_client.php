<?php
// PHP's curl reads one answer; a loop around it reconnects. GZIP=on: with CURLOPT_ENCODING.

require __DIR__ . '/printing.php';

/** Follows a pipeline. */
final class Stream
{
    private ?string $lastEventId = null;
    private int $retryMilliseconds = 1000;
    private string $rest = '';

    public function __construct(private string $url, private Closure $handle, private array $options = [])
    {
    }

    /** Reads the stream and reconnects, until the node refuses it. */
    public function follow(): never
    {
        while (true) {
            $this->rest = '';
            $curl = curl_init($this->url);
            $headers = ['Accept: text/event-stream', ...($this->lastEventId === null ? [] : ["Last-Event-ID: $this->lastEventId"])];
            curl_setopt_array($curl, $this->options + [
                CURLOPT_HTTPHEADER => $headers,
                CURLOPT_FAILONERROR => true,
                // A read timeout: less than one byte per second for 45 s.
                CURLOPT_LOW_SPEED_LIMIT => 1,
                CURLOPT_LOW_SPEED_TIME => 45,
                CURLOPT_WRITEFUNCTION => fn ($curl, string $piece): int => $this->read($piece),
            ]);
            if (!curl_exec($curl)) {
                $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
                if ($status >= 400 && $status < 500) {
                    throw new RuntimeException(curl_error($curl));
                }
                error_log('reconnecting: ' . curl_error($curl));
            }
            usleep($this->retryMilliseconds * 1000);
        }
    }

    private function read(string $piece): int
    {
        $blocks = explode("\n\n", $this->rest . $piece);
        $this->rest = array_pop($blocks);
        array_walk($blocks, fn (string $block) => $this->take($block));
        return strlen($piece);
    }

    private function take(string $block): void
    {
        $fields = [];
        foreach (explode("\n", $block) as $line) {
            [$name, $value] = preg_split('/: ?/', $line, 2) + [1 => ''];
            $fields[$name] = $value;
        }
        $this->retryMilliseconds = (int) ($fields['retry'] ?? $this->retryMilliseconds);
        $this->lastEventId = $fields['id'] ?? $this->lastEventId;
        if (isset($fields['data'])) {
            ($this->handle)($this->lastEventId, $fields['event'], $fields['data']);
        }
    }
}

try {
    (new Stream($argv[1], print_message(...), getenv('GZIP') === 'on' ? [CURLOPT_ENCODING => 'gzip'] : []))->follow();
} catch (RuntimeException $failure) {
    print_error($failure->getMessage());
    exit(1);
}
