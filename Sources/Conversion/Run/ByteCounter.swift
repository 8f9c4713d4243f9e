internal import Synchronization

/// Counts bytes that several threads have done and tells the sum.
final class ByteCounter: Sendable {
  private let done = Atomic<UInt64>(0)
  private let total: UInt64
  private let progress: ConversionRun.Progress

  init(total: UInt64, progress: @escaping ConversionRun.Progress) {
    self.total = total
    self.progress = progress
  }

  func add(_ bytes: Int) { progress(done.wrappingAdd(UInt64(bytes), ordering: .relaxed).newValue, total) }
}
