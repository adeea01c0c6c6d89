<?php
// The output of every client in PHP. What it logs is printed as a failure.

ini_set('display_errors', 'stderr');

function print_line(array $line): void
{
    echo json_encode($line, JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), "\n";
}

function print_message(?string $id, ?string $channel, string $data): void
{
    print_line(['id' => $id, 'channel' => $channel, 'data' => $data]);
}

function print_error(string $failure): void
{
    print_line(['error' => $failure]);
}

/** Publishes what samples.mjs expects to the URL in the last argument. */
function publish_names(callable $publish): void
{
    global $argv;
    try {
        foreach (['Luke', 'Leia'] as $name) {
            print_line(['id' => $publish(end($argv), getenv('TOKEN'), 'names', ['name' => $name])]);
        }
    } catch (Exception $failure) {
        print_error($failure->getMessage());
    }
}
