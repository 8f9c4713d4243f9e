#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif
internal import Synchronization

/// A request to stop, made by SIGINT or SIGTERM. Long work asks for it at safe boundaries and stops there in order.
public final class Interruption: Sendable {
  private let requested = Atomic<Bool>(false)
  private let listens = Atomic<Bool>(false)

  /// Set by the signal handler. A handler and not a dispatch source: it works from the moment it is installed on, however
  /// busy the queues' threads are, and no signal falls between two dispositions.
  private static let signalled = Atomic<Bool>(false)

  public init() {}

  /// From now on SIGINT and SIGTERM set the request instead of killing the process. A second signal kills it.
  public func listen() {
    // Also brings the flag to life, so that the handler does nothing but touch it.
    Self.signalled.store(false, ordering: .relaxed)
    listens.store(true, ordering: .relaxed)
    var signals = sigset_t()
    sigemptyset(&signals)
    for number in [SIGINT, SIGTERM] {
      signal(number) { _ in
        if Interruption.signalled.exchange(true, ordering: .relaxed) { _exit(75) }
      }
      sigaddset(&signals, number)
    }
    // A program that was started by a thread that blocks signals has inherited that.
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
  }

  /// - Throws: `Interrupted` when a stop was requested.
  public func check() throws(Interrupted) {
    if isRequested { throw Interrupted() }
  }

  public func request() { requested.store(true, ordering: .relaxed) }
  public var isRequested: Bool {
    requested.load(ordering: .relaxed)
      || (listens.load(ordering: .relaxed) && Self.signalled.load(ordering: .relaxed))
  }
}

/// Work stopped at a safe boundary because a signal asked for it. Nothing was published.
public struct Interrupted: Error, Sendable, CustomStringConvertible {
  /// How to go on.
  private let advice: String

  /// - Parameter advice: of work that keeps what was done; other work starts over.
  public init(advice: String = "run the same command again") { self.advice = advice }
  public var description: String { "interrupted; nothing was published, \(advice)" }
}
