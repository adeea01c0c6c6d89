# Net::HTTP as a publisher on one connection, see publishers.mjs.

require "net/http"
require_relative "printing"

http = nil
$stdin.each_line do |line|
  request = JSON.parse(line)
  uri = URI(request["url"])
  http ||= Net::HTTP.new(uri.host, uri.port).tap { |connection| connection.keep_alive_timeout = 30 }.start
  post = Net::HTTP::Post.new(uri, request["headers"])
  post.body = request["before"] + "x" * request["fill"] + request["after"]
  puts JSON.generate({status: http.request(post).code.to_i})
rescue IOError, SystemCallError, Timeout::Error, Net::HTTPBadResponse => failure
  print_error("#{failure.class}: #{failure}")
end
