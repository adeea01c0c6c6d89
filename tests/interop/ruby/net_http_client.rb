# Net::HTTP reads one answer; a loop around it reconnects. AS_IT_COMES=1: without the settings that docs/guide/clients/index.md recommends.

require "net/http"
require_relative "printing"

class Stream
  def initialize(url)
    @uri = URI(url)
    @retry_seconds = 1
    @last_event_id = nil
  end

  def follow
    loop do
      break if refused?
      sleep @retry_seconds
    rescue IOError, SystemCallError, Timeout::Error, Net::HTTPBadResponse, Zlib::Error => failure
      print_error(failure)
      sleep @retry_seconds
    end
  end

  private

  # Reads one answer to its end.
  def refused?
    connection.start do |http|
      http.request(request) do |answer|
        unless answer.is_a?(Net::HTTPOK)
          print_error(answer.code)
          return true
        end
        read(answer)
      end
    end
    false
  end

  def connection
    http = Net::HTTP.new(@uri.host, @uri.port)
    http.use_ssl = @uri.scheme == "https"
    http.read_timeout = 45
    # By default it repeats the same request when the stream is cut, with the old resume point.
    http.max_retries = 0
    http
  end

  def request
    get = Net::HTTP::Get.new(@uri, "Accept" => "text/event-stream")
    # By default it asks for gzip, and delivers small events only once many have arrived.
    get["Accept-Encoding"] = "identity"
    get["Last-Event-ID"] = @last_event_id if @last_event_id
    get
  end

  def read(answer)
    rest = +""
    answer.read_body do |piece|
      *blocks, rest = (rest << piece.b).split("\n\n", -1)
      blocks.each { |block| take(block.force_encoding(Encoding::UTF_8)) }
      rest = +(rest || "")
    end
  end

  def take(block)
    fields = block.lines(chomp: true).to_h { |line| line.split(/: ?/, 2) }
    @retry_seconds = fields["retry"].to_i / 1000.0 if fields["retry"]
    @last_event_id = fields["id"] if fields["id"]
    print_message(@last_event_id, fields["event"], fields["data"]) if fields["data"]
  end
end

# Without the two settings.
class StreamAsItComes < Stream
  private

  def connection
    super.tap { |http| http.max_retries = Net::HTTP.new("localhost").max_retries }
  end

  def request
    get = Net::HTTP::Get.new(@uri, "Accept" => "text/event-stream")
    get["Last-Event-ID"] = @last_event_id if @last_event_id
    get
  end
end

(ENV["AS_IT_COMES"] ? StreamAsItComes : Stream).new(ARGV[0]).follow
