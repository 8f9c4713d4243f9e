internal import CKernels

/// Uninitialized memory on a cache line's boundary: tile loads that cross one take twice as long.
final class AlignedBytes: @unchecked Sendable {
  // Sound: written by disjoint pieces of one synchronous loop, only read afterwards.
  let start: UnsafeMutableRawPointer
  let byteCount: Int

  init(byteCount: Int) {
    start = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 1), alignment: 64)
    self.byteCount = byteCount
    ck_advise_huge_pages(start, byteCount)
  }

  deinit { start.deallocate() }
}
