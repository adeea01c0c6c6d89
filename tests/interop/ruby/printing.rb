# The output of every client in Ruby.

require "json"

$stdout.sync = true

def print_message(id, channel, data)
  puts JSON.generate({id: id, channel: channel, data: data})
end

def print_error(failure)
  puts JSON.generate({error: failure.to_s})
end
