<?php
// The output of every client in PHP.

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
