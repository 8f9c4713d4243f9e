internal import Dispatch
internal import Synchronization

/// Something done on another thread while the caller goes on: waiting for a disk, above all.
public final class BackgroundWork: Sendable {
  private let group = DispatchGroup()
  private let failure: Shared

  private final class Shared: Sendable {
    let error = Mutex<(any Error)?>(nil)
  }

  /// Starts at once.
  public init(_ body: @escaping @Sendable () throws -> Void) {
    let failure = Shared()
    self.failure = failure
    DispatchQueue.global().async(group: group) {
      do { try body() } catch { failure.error.withLock { $0 = error } }
    }
  }

  /// Returns when it is done.
  /// - Throws: what it threw.
  public func wait() throws {
    group.wait()
    if let error = failure.error.withLock({ $0 }) { throw error }
  }
}

/// Things done one after the other on a thread of their own, whose end nobody waits for: hints to the system.
public final class BackgroundQueue: Sendable {
  private let queue: DispatchQueue

  public init(name: String) { queue = DispatchQueue(label: name) }

  /// Returns at once.
  public func add(_ body: @escaping @Sendable () -> Void) { queue.async(execute: body) }
}
