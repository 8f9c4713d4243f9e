internal import CKernels
#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Darwin
#endif

/// What the system says about this process.
public enum ProcessFacts {
  /// The largest resident memory so far, in bytes.
  public static var peakResidentBytes: UInt64 {
    var usage = rusage()
    #if os(Linux)
      guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss) * 1024
    #else
      guard getrusage(RUSAGE_SELF, &usage) == 0 else { return 0 }
      return UInt64(usage.ru_maxrss)
    #endif
  }
}

/// How this process uses memory.
public enum ProcessMemory {
  /// Keeps freed buffers for the next ones. Tiles are megabytes, and glibc gives each back to the system when it is freed:
  /// half the time of a quantizer then goes into pages that are mapped and cleared again. What is held stays at the peak
  /// that the tiles have at once.
  public static func keepsFreedBuffers() {
    ck_keep_freed_memory(32 << 20, 512 << 20)
  }
}
