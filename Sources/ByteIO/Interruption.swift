internal import Dispatch
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

  public init() {}

  /// From now on SIGINT and SIGTERM set the request instead of killing the process. A second signal kills it.
  public func listen() {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in
        if requested.exchange(true, ordering: .relaxed) { _exit(75) }
      }
      source.resume()
      // Signal handlers live as long as the process: the source holds itself through its handler.
      source.setCancelHandler { _ = source }
    }
  }

  /// - Throws: `Interrupted` when a stop was requested.
  public func check() throws(Interrupted) {
    if isRequested { throw Interrupted() }
  }

  public func request() { requested.store(true, ordering: .relaxed) }
  public var isRequested: Bool { requested.load(ordering: .relaxed) }
}

/// Work stopped at a safe boundary because a signal asked for it. Nothing was published; running again starts over.
public struct Interrupted: Error, Sendable, CustomStringConvertible {
  public init() {}
  public var description: String { "interrupted; nothing was published, run the same command again" }
}
