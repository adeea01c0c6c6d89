/** What a client hands over to its application. */
interface Subscriber {
    void receive(String id, String channel, String data);

    /** The stream broke; the client reconnects. */
    void lost(Throwable failure);

    /** The node refused the stream; the client stops. */
    void refused(int status);
}
